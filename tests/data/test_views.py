"""Which part of its image an example shows, against cropping, flipping and resizing the image by hand."""

import numpy as np
import PIL.Image
import pytest
import torch
from helpers.rows import ids, picture, rows
from transformers import SegformerImageProcessor

from rss_hf.data import evaluation_examples, process_image, training_examples


PLAIN = {"do_normalize": False, "do_rescale": True}
SIZES = [(24, 20), (13, 31), (40, 40), (9, 9)]  # width, height


def smooth(seed, size):
    """A picture that survives resizing: a few colours, blended."""
    small = PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (3, 3, 3), np.uint8))
    return small.resize(size, PIL.Image.Resampling.BICUBIC)


def stored(make=picture, sizes=SIZES * 4):
    return rows(images=[make(i, size) for i, size in enumerate(sizes)], id=[str(i) for i in range(len(sizes))])


def processor(height, width):
    return SegformerImageProcessor(size={"height": height, "width": width}, **PLAIN)


def shown(example):
    """The content of an example, padding cut off, as it was before it was flipped: (3, h, w)."""
    y, x = example["valid"].any(1).nonzero(), example["valid"].any(0).nonzero()
    assert example["valid"].sum() == len(y) * len(x)
    content = example["pixel_values"][:, y[0] : y[-1] + 1, x[0] : x[-1] + 1]
    return content.flip(-1) if example["flipped"] else content


def as_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


def assert_seen(examples, images):
    """At scale 1: each example shows exactly the pixels its `crop` names, and padding where it is not `valid`."""
    flips, parts = set(), set()
    for example, image in zip(examples, images, strict=True):
        assert example["valid"].dtype == torch.bool and example["crop"].dtype == torch.float32
        sides = torch.tensor([image.height, image.width] * 2)
        top, left, bottom, right = (example["crop"] * sides).round().int().tolist()
        assert torch.allclose(example["crop"] * sides, torch.tensor([top, left, bottom, right]).float(), atol=1e-4)
        expected = as_tensor(image)[:, top:bottom, left:right]
        assert torch.allclose(shown(example), expected, atol=1e-6)
        assert (example["pixel_values"][:, ~example["valid"]] == 0).all()
        flips.add(bool(example["flipped"]))
        parts.add((bottom - top < image.height, right - left < image.width, bool((~example["valid"]).any())))
    assert flips == {False, True}  # and the height, the width or both cropped, and padded or not
    assert parts == {(False, False, True), (True, False, True), (True, True, False)}


@pytest.mark.parametrize("positions", [False, True])
def test_crop_flip_and_padding_are_those_of_the_example(positions):
    data = stored()
    options = {"scale_range": (1, 1), "photometric_distortion": False, "whole_images": False, "positions": positions}
    examples = training_examples(data, processor(16, 22), views=True, **options)
    plain = training_examples(data, processor(16, 22), **options)
    seen = [examples[i] for i in range(len(data))]
    assert_seen(seen, data["image"])
    for index, example in enumerate(seen):
        expected = plain[index]
        assert {name for name in example if name not in expected} == {"valid", "crop", "flipped"}
        for name in expected:
            assert torch.equal(example[name], expected[name]) if name != "id" else example["id"] == str(index)
        if positions:
            assert torch.equal(example["valid"], example["image_positions"] >= 0)


def test_streams_say_it_too():
    data = stored()
    options = {"scale_range": (1, 1), "photometric_distortion": False, "whole_images": False}
    assert_seen(training_examples(data.to_iterable_dataset(), processor(16, 22), views=True, **options), data["image"])


def test_scaled_crops_lie_where_they_say():
    """Resized: the named part of the image, resized to the size of what is shown, is what is shown."""
    data = stored(smooth, [(96, 80), (60, 90)] * 6)
    examples = training_examples(
        data, processor(48, 40), views=True, photometric_distortion=False, whole_images=False, scale_range=(0.5, 2.0)
    )
    cropped = 0
    for index in range(len(data)):
        example, image = examples[index], data[index]["image"]
        content = shown(example)
        top, left, bottom, right = example["crop"].tolist()
        box = (left * image.width, top * image.height, right * image.width, bottom * image.height)
        expected = image.resize((content.shape[2], content.shape[1]), PIL.Image.Resampling.BILINEAR, box=box)
        assert (content - as_tensor(expected)).abs().mean() < 0.01
        cropped += bottom - top < 0.9 or right - left < 0.9
    assert cropped >= 3


def test_whole_images_are_what_evaluation_sees():
    """By default where there are no masks: not cropped, flipped or padded, and resized as the processor does."""
    data = stored()
    for resample in (PIL.Image.Resampling.BILINEAR, PIL.Image.Resampling.BICUBIC):
        made = SegformerImageProcessor(size={"height": 16, "width": 22}, resample=resample)
        examples = training_examples(data, made, views=True, photometric_distortion=False)
        for index in range(len(data)):
            example = examples[index]
            assert torch.allclose(example["pixel_values"], process_image(made, data[index]["image"]), atol=1e-5)
            assert example["valid"].shape == (16, 22) and example["valid"].all()
            assert example["crop"].tolist() == [0, 0, 1, 1] and not example["flipped"]
    distorted = training_examples(data, made)
    assert not torch.allclose(distorted[0]["pixel_values"], example["pixel_values"], atol=0.1)


def test_masks_and_positions_of_whole_images():
    mask = ids(range(48), (8, 6))
    data = rows([mask], [picture(0, (8, 6))])
    options = {"photometric_distortion": False, "positions": True, "num_classes": 48}
    example = training_examples(data, processor(12, 16), whole_images=True, **options)[0]
    assert torch.equal(
        example["labels"], torch.from_numpy(mask).long().repeat_interleave(2, 0).repeat_interleave(2, 1)
    )
    assert example["image_positions"][-1, -1] == (5 * 256 // 6) * 256 + 7 * 256 // 8
    assert (example["image_positions"] >= 0).all()
    cropped = training_examples(data, processor(12, 16), **options)  # the default with masks
    assert any(
        not torch.equal(example["labels"], (cropped.set_epoch(epoch), cropped[0]["labels"])[1]) for epoch in range(4)
    )


@pytest.mark.parametrize("stream", [False, True])
def test_evaluation_sees_all_of_an_image(stream):
    data = stored()
    data = data.to_iterable_dataset() if stream else data
    for example in evaluation_examples(data, processor(16, 22), views=True):
        assert example["valid"].shape == (16, 22) and example["valid"].all()
        assert example["crop"].tolist() == [0, 0, 1, 1] and not example["flipped"]
    assert "valid" not in next(iter(evaluation_examples(data, processor(16, 22))))


def test_columns_of_these_names_are_not_overwritten():
    data = rows(images=[picture()], crop=["wheat"])
    assert training_examples(data, processor(8, 8))[0]["crop"] == "wheat"
    with pytest.raises(ValueError, match=r"\['crop'\] would be overwritten"):
        training_examples(data, processor(8, 8), views=True)
