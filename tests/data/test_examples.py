"""Examples: their own random streams, where their pixels were, what is refused, and how they become batches."""

import copy
import pickle
from io import BytesIO

import datasets
import numpy as np
import PIL.Image
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import SegformerImageProcessor

from rss_hf.data.examples import SegmentationDataset, StreamingSegmentationDataset, collate
from rss_hf.data.masks import VOID
from rss_hf.data.transforms import EvalTransform, train_transform


MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def encoded(image, file_format):
    buffer = BytesIO()
    image.save(buffer, file_format)
    return {"bytes": buffer.getvalue(), "path": None}


def dataset(length=6, mode="RGB", mask_size=(24, 20), **others):
    rng = np.random.default_rng(0)
    images = [PIL.Image.fromarray(rng.integers(0, 256, (24, 20, 3), np.uint8)).convert(mode) for _ in range(length)]
    masks = [PIL.Image.fromarray(rng.integers(0, 5, mask_size, np.uint8)) for _ in range(length)]
    columns = {
        "image": [encoded(image, "TIFF") for image in images],  # a format that keeps every mode
        "mask": [encoded(mask, "PNG") for mask in masks],
        "id": [str(i) for i in range(length)],
    }
    features = {"image": datasets.Image(), "mask": datasets.Image(), "id": datasets.Value("string")}
    features |= {name: datasets.Value("int64") for name in others}
    return datasets.Dataset.from_dict(columns | others, features=datasets.Features(features))


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in ("pixel_values", "labels"))


def test_an_example_depends_on_seed_epoch_and_index_alone():
    rows, transform = dataset(), train_transform((16, 16), MEAN, STD)
    examples = SegmentationDataset(rows, transform, seed=3)
    expected = [copy.deepcopy(examples[i]) for i in range(6)]
    assert len(examples) == 6
    assert same(SegmentationDataset(rows, transform, seed=3)[4], expected[4])
    assert not same(SegmentationDataset(rows, transform, seed=4)[4], expected[4])
    examples.set_epoch(1)
    assert not same(examples[4], expected[4])
    examples.set_epoch(0)
    torch.rand(5)
    assert same(examples[4], expected[4])
    assert same(pickle.loads(pickle.dumps(examples))[4], expected[4])


def test_workers_that_live_on_follow_the_epoch():
    examples = SegmentationDataset(dataset(), train_transform((16, 16), MEAN, STD), seed=3)
    loader = DataLoader(examples, batch_size=2, num_workers=2, persistent_workers=True, collate_fn=collate)
    for epoch in (0, 1):
        examples.set_epoch(epoch)
        for number, batch in enumerate(loader):
            assert same(batch, collate([examples[2 * number], examples[2 * number + 1]]))


@pytest.mark.parametrize("scale_range", [(1, 1), (0.5, 2.0)])
def test_pixels_are_found_again(scale_range):
    """Turned, scaled, cropped and padded: a pixel's label is that of its place in the image, 24x20 pixels here."""
    rows = dataset()
    examples = SegmentationDataset(rows, train_transform((22, 26), MEAN, STD, scale_range), positions=True)
    plain = SegmentationDataset(rows, train_transform((22, 26), MEAN, STD, scale_range))
    padded = 0
    for index in range(len(rows)):
        example = examples[index]
        assert example["image_index"] == index and same(example, plain[index])
        mask, positions = torch.from_numpy(np.array(rows[index]["mask"])), example["image_positions"]
        y, x = (-(-place * side // 256) for place, side in ((positions // 256, 24), (positions % 256, 20)))
        found = torch.where(positions >= 0, mask[y.clamp(0, 23), x.clamp(0, 19)].long(), VOID)
        assert torch.equal(found, example["labels"])
        padded += (positions < 0).sum()
    assert padded > 0
    unlabelled = SegmentationDataset(rows.remove_columns("mask"), examples.transform, positions=True)[index]
    assert torch.equal(unlabelled["image_positions"], positions) and "labels" not in unlabelled


def test_no_other_random_state_is_touched(monkeypatch):
    examples = SegmentationDataset(dataset(), train_transform((16, 16), MEAN, STD))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("the GPU was seeded"))
    state = torch.get_rng_state()
    examples[0]
    assert torch.equal(torch.get_rng_state(), state)


def test_other_columns_come_along_and_masks_are_optional():
    rows = dataset(2, weight=[7, 8])
    example = SegmentationDataset(rows, train_transform((16, 16), MEAN, STD))[1]
    assert set(example) == {"pixel_values", "labels", "id", "weight"}
    assert (example["id"], example["weight"]) == ("1", 8)
    example = SegmentationDataset(dataset(2).remove_columns("mask"), train_transform((16, 16), MEAN, STD))[1]
    assert set(example) == {"pixel_values", "id"}


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_other_image_modes_become_rgb(mode):
    rows = dataset(1, mode=mode)
    assert rows[0]["image"].mode == mode
    transform = train_transform((24, 20), [0, 0, 0], [1, 1, 1], (1, 1), photometric_distortion=False)
    pixel_values = SegmentationDataset(rows, transform)[0]["pixel_values"]
    expected = torch.from_numpy(np.array(rows[0]["image"].convert("RGB"))).permute(2, 0, 1) / 255
    assert any(torch.allclose(pixel_values, view) for view in (expected, expected.flip(-1)))


def test_bad_rows_and_columns_are_named():
    transform = train_transform((16, 16), MEAN, STD)
    with pytest.raises(ValueError, match=r"no column 'image', only \['mask', 'id'\]"):
        SegmentationDataset(dataset().remove_columns("image"), transform)
    with pytest.raises(ValueError, match=r"\['labels'\] would be overwritten"):
        SegmentationDataset(dataset(2, labels=[0, 1]), transform)
    taken = dataset(2, image_index=[0, 1])
    assert SegmentationDataset(taken, transform)[1]["image_index"] == 1
    with pytest.raises(ValueError, match=r"\['image_index'\] would be overwritten"):
        SegmentationDataset(taken, transform, positions=True)
    with pytest.raises(ValueError, match="row 0: the image is 20x24 pixels and its mask 5x4"):
        SegmentationDataset(dataset(1, mask_size=(4, 5)), transform)[0]


def test_evaluation_sees_what_the_image_processor_makes_and_labels_as_they_are():
    processor = SegformerImageProcessor(size={"height": 32, "width": 32})
    rows = dataset(2)
    example = SegmentationDataset(rows, EvalTransform(processor))[1]
    expected = processor(rows[1]["image"], return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(example["pixel_values"], expected)
    assert example["labels"].dtype == torch.int64
    np.testing.assert_array_equal(example["labels"].numpy(), np.array(rows[1]["mask"]))


def test_collate_stacks_what_is_equal_in_shape():
    examples = [
        {"pixel_values": torch.zeros(3, 4, 4), "labels": torch.zeros(4, side, dtype=torch.int64), "id": str(side)}
        for side in (4, 5)
    ]
    batch = collate(examples)
    assert batch["pixel_values"].shape == (2, 3, 4, 4)
    assert [labels.shape for labels in batch["labels"]] == [(4, 4), (4, 5)]
    assert batch["id"] == ["4", "5"]


def test_streaming_gives_the_same_rows_with_checked_masks():
    rows, transform = dataset(), train_transform((16, 16), MEAN, STD)
    stream = rows.to_iterable_dataset(num_shards=2)
    examples = StreamingSegmentationDataset(stream, transform, seed=1, num_classes=5)
    first = [copy.deepcopy(example) for example in examples]
    assert [example["id"] for example in first] == ["0", "1", "2", "3", "4", "5"]
    assert first[0]["pixel_values"].shape == (3, 16, 16)
    assert all(same(*both) for both in zip(first, examples, strict=True))
    examples.set_epoch(1)
    assert not any(same(*both) for both in zip(first, examples, strict=True))
    loader = DataLoader(examples, batch_size=3, num_workers=2, collate_fn=collate)
    assert sorted(name for batch in loader for name in batch["id"]) == ["0", "1", "2", "3", "4", "5"]
    with pytest.raises(ValueError, match=r"streamed row 0: .*\[2, 3, 4\]"):
        next(iter(StreamingSegmentationDataset(stream, transform, num_classes=2)))
