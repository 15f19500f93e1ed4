"""A folder of images without masks, of which areas and tags are known, and judges of them in `judge.py`."""

import json

import numpy as np
import PIL.Image


NAMES = ["other", "red"]
JUDGE = '''
import torch


def area_error(predictions, areas=None, **columns):
    found = [float((p == 1).float().mean()) for p in predictions]
    return [-abs(f - a) for f, a in zip(found, areas)]


def above(predictions, valid=None, crop=None, flipped=None, **columns):
    """Wants class 1 in the upper half of the image; checks what it is told."""
    assert valid.shape == predictions.shape and valid.all()
    assert torch.equal(crop, torch.tensor([0.0, 0, 1, 1]).expand(len(predictions), 4)) and not flipped.any()
    return (predictions == 1).float()[:, : predictions.shape[1] // 2].mean((1, 2))


def darkness(predictions, pixel_values=None, **columns):
    """For each pixel: class 1 where the image is dark."""
    return ((predictions == 1) == (pixel_values.mean(1) < 0)).float()
'''


def write_photos(folder, train=8, validation=3, size=(24, 20)):
    """`photos/` as `datasets`' imagefolder with `metadata.jsonl`, and `judge.py`. The red areas by split."""
    areas = {}
    for number, (split, count) in enumerate({"train": train, "validation": validation}.items()):
        (folder / "photos" / split).mkdir(parents=True)
        rng, lines = np.random.default_rng(number), []
        for i in range(count):
            pixels = rng.integers(0, 90, (size[1], size[0], 3), np.uint8)
            pixels[: 4 + i, : 5 + i] = (230, 20, 20)
            PIL.Image.fromarray(pixels).save(folder / "photos" / split / f"{i}.png")
            area = (4 + i) * (5 + i) / (size[0] * size[1])
            lines.append({"file_name": f"{i}.png", "areas": area, "label": ["red"] * (i % 2)})
        (folder / "photos" / split / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
        areas[split] = [line["areas"] for line in lines]
    (folder / "judge.py").write_text(JUDGE)
    return areas
