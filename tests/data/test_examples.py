"""Examples: their own random streams, where their pixels were, what is refused, and how they become batches."""

import copy
import pickle

import datasets
import numpy as np
import PIL.Image
import pytest
import torch
from helpers.rows import TURNS, encoded, ids, orientation, p_mode, picture, rows
from torch.utils.data import DataLoader
from transformers import SegformerImageProcessor

from rss_hf.data import (
    IGNORE_INDEX,
    EvalTransform,
    SegmentationDataset,
    StreamingSegmentationDataset,
    collate,
    evaluation_examples,
    train_transform,
    training_examples,
    voc_palette,
)


MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def dataset(length=6, mask_size=(24, 20), **others):
    rng = np.random.default_rng(0)
    images = [PIL.Image.fromarray(rng.integers(0, 256, (24, 20, 3), np.uint8)) for _ in range(length)]
    masks = [PIL.Image.fromarray(rng.integers(0, 5, mask_size, np.uint8)) for _ in range(length)]
    columns = {
        "image": [encoded(image) for image in images],
        "mask": [encoded(mask) for mask in masks],
        "id": [str(i) for i in range(length)],
    }
    features = {"image": datasets.Image(), "mask": datasets.Image(), "id": datasets.Value("string")}
    features |= {name: datasets.Value("int64") for name in others}
    return datasets.Dataset.from_dict(columns | others, features=datasets.Features(features))


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in ("pixel_values", "labels"))


def test_an_example_depends_on_seed_epoch_and_index_alone():
    stored, transform = dataset(), train_transform((16, 16), MEAN, STD)
    examples = SegmentationDataset(stored, transform, seed=3)
    expected = [copy.deepcopy(examples[i]) for i in range(6)]
    assert len(examples) == 6
    assert same(SegmentationDataset(stored, transform, seed=3)[4], expected[4])
    assert not same(SegmentationDataset(stored, transform, seed=4)[4], expected[4])
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
    """Flipped, scaled, cropped and padded: a pixel's label is that of its place in the image, 24x20 pixels here."""
    stored = dataset()
    examples = SegmentationDataset(stored, train_transform((22, 26), MEAN, STD, scale_range), positions=True)
    plain = SegmentationDataset(stored, train_transform((22, 26), MEAN, STD, scale_range))
    padded = 0
    for index in range(len(stored)):
        example = examples[index]
        assert example["image_index"] == index and same(example, plain[index])
        mask, positions = torch.from_numpy(np.array(stored[index]["mask"])), example["image_positions"]
        y, x = (-(-place * side // 256) for place, side in ((positions // 256, 24), (positions % 256, 20)))
        found = torch.where(positions >= 0, mask[y.clamp(0, 23), x.clamp(0, 19)].long(), IGNORE_INDEX)
        assert torch.equal(found, example["labels"])
        padded += (positions < 0).sum()
    assert padded > 0
    unlabelled = SegmentationDataset(stored.remove_columns("mask"), examples.transform, positions=True)[index]
    assert torch.equal(unlabelled["image_positions"], positions) and "labels" not in unlabelled


def test_no_other_random_state_is_touched(monkeypatch):
    examples = SegmentationDataset(dataset(), train_transform((16, 16), MEAN, STD))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("the GPU was seeded"))
    state = torch.get_rng_state()
    examples[0]
    assert torch.equal(torch.get_rng_state(), state)


def test_other_columns_come_along_and_masks_are_optional():
    stored = dataset(2, weight=[7, 8])
    example = SegmentationDataset(stored, train_transform((16, 16), MEAN, STD))[1]
    assert set(example) == {"pixel_values", "labels", "id", "weight"}
    assert (example["id"], example["weight"]) == ("1", 8)
    example = SegmentationDataset(dataset(2).remove_columns("mask"), train_transform((16, 16), MEAN, STD))[1]
    assert set(example) == {"pixel_values", "id"}


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
    stored = dataset(2)
    example = SegmentationDataset(stored, EvalTransform(processor))[1]
    expected = processor(stored[1]["image"], return_tensors="pt")["pixel_values"][0]
    assert torch.equal(example["pixel_values"], expected)
    assert example["labels"].dtype == torch.int64
    np.testing.assert_array_equal(example["labels"].numpy(), np.array(stored[1]["mask"]))


def test_streamed_files_are_decoded_as_stored_ones_are():
    """Not by `datasets`, which turns images only and does not say which row is damaged."""
    turned = encoded(picture(), exif=orientation(6))
    damaged = {"bytes": turned["bytes"][:-40], "path": "broken.png"}
    stream = rows([ids(), ids()], [turned, damaged]).to_iterable_dataset()
    examples = iter(evaluation_examples(stream, SegformerImageProcessor(size={"height": 8, "width": 8})))
    assert torch.equal(next(examples)["labels"], torch.from_numpy(TURNS[6](ids()).copy()).long())
    with pytest.raises(ValueError, match=r"streamed row 1 \(broken.png\): the image cannot be decoded"):
        next(examples)


@pytest.mark.parametrize("ignore_index", [-100, 4, 300])
def test_what_no_class_has_is_labelled_as_asked(ignore_index):
    stored = rows([ids((0, 1, IGNORE_INDEX))] * 2)
    expected = torch.from_numpy(ids((0, 1, IGNORE_INDEX))).long()
    expected[expected == IGNORE_INDEX] = ignore_index
    processor = SegformerImageProcessor(size={"height": 8, "width": 12})
    for kind in (stored, stored.to_iterable_dataset()):
        for example in evaluation_examples(kind, processor, ignore_index=ignore_index):
            assert torch.equal(example["labels"], expected)
    options = {"image_size": (8, 12), "scale_range": (1, 1), "seed": 5}
    usual = training_examples(stored, processor, **options)
    for positions in (False, True):
        examples = training_examples(stored, processor, **options, positions=positions, ignore_index=ignore_index)
        for example, other in zip(examples, usual, strict=True):
            assert torch.equal(example["labels"], other["labels"].where(other["labels"] != IGNORE_INDEX, ignore_index))
            assert torch.equal(example["pixel_values"], other["pixel_values"])
            if positions:
                padding = example["image_positions"] < 0
                assert padding.sum() == 8 * 12 - 6 * 8 and (example["labels"][padding] == ignore_index).all()
    streamed = training_examples(stored.to_iterable_dataset(), processor, **options, ignore_index=ignore_index)
    assert {int(label) for example in streamed for label in example["labels"].unique()} == {0, 1, ignore_index}


def test_colour_masks_are_read_by_the_palette():
    stored = rows([p_mode(ids()).convert("RGB")])
    processor = SegformerImageProcessor(size={"height": 8, "width": 8})
    for kind in (stored, stored.to_iterable_dataset()):
        (example,) = evaluation_examples(kind, processor, palette=["#000000", (128, 0, 0), "#008000"])
        assert torch.equal(example["labels"], torch.from_numpy(ids()).long())
        for make in (training_examples, evaluation_examples):
            with pytest.raises(ValueError, match="row 0: the mask is RGB, and no palette"):
                next(iter(make(kind, processor)))
            with pytest.raises(ValueError, match="palette has 3 colours for 4 classes"):
                make(kind, processor, palette=voc_palette(3), num_classes=4)


@pytest.mark.parametrize("make", [training_examples, evaluation_examples])
def test_ids_without_a_class_are_refused_where_classes_are_counted(make):
    stored, processor = rows([ids((0, 1)), ids((0, 7, 9))]), SegformerImageProcessor(size={"height": 8, "width": 8})
    for kind in (stored, stored.to_iterable_dataset()):
        examples = iter(make(kind, processor, num_classes=7))
        assert next(examples)["labels"].max() == 1
        with pytest.raises(ValueError, match=r"row 1: 2 mask ids without a class, \[7, 9\]"):
            next(examples)
        assert len(list(make(kind, processor, num_classes=10))) == 2


def test_training_examples_are_those_of_the_parts():
    stored = dataset()
    renamed = stored.rename_columns({"image": "img", "mask": "annotation"})
    processor = SegformerImageProcessor(size={"height": 16, "width": 18}, image_mean=MEAN, image_std=STD)
    for options in ({}, {"scale_range": (0.9, 1.2)}, {"photometric_distortion": False}):
        transform = train_transform((16, 18), MEAN, STD, **options)
        expected = SegmentationDataset(stored, transform, seed=3)
        examples = training_examples(renamed, processor, seed=3, **options)
        assert isinstance(examples, SegmentationDataset)
        for example, other in zip(examples, expected, strict=True):
            assert same(example, other) and set(example) == {"pixel_values", "labels", "id"}
        expected = list(StreamingSegmentationDataset(stored.to_iterable_dataset(), transform, seed=3))
        streamed = training_examples(renamed.to_iterable_dataset(), processor, seed=3, **options)
        assert isinstance(streamed, StreamingSegmentationDataset)
        assert all(same(*both) for both in zip(streamed, expected, strict=True))
    example = training_examples(stored, processor, image_size=[12, 10], positions=True)[2]
    assert example["pixel_values"].shape == (3, 12, 10) and example["image_index"] == 2
    assert example["image_positions"].shape == example["labels"].shape == (12, 10)


def test_rows_without_masks_make_examples_without_labels():
    stored = dataset(2).remove_columns("mask").rename_column("id", "label")
    processor = SegformerImageProcessor(size={"height": 8, "width": 8})
    for kind in (stored, stored.to_iterable_dataset()):
        for make in (training_examples, evaluation_examples):
            examples = list(make(kind, processor, num_classes=3))
            assert [example["label"] for example in examples] == ["0", "1"]
            assert all(set(example) == {"pixel_values", "label"} for example in examples)


def test_what_no_training_examples_can_be_made_from_is_refused():
    stored = dataset(2)
    by_edge = SegformerImageProcessor(size={"shortest_edge": 8}, default_to_square=False)
    with pytest.raises(ValueError, match=r"\{'shortest_edge': 8\}, does not say a height .* Pass image_size"):
        training_examples(stored, by_edge)
    assert training_examples(stored, by_edge, image_size=(8, 9))[0]["labels"].shape == (8, 9)
    with pytest.raises(ValueError, match="positions needs random access"):
        training_examples(stored.to_iterable_dataset(), SegformerImageProcessor(), positions=True)


def test_examples_are_normalised_as_the_processor_does():
    stored = dataset(1)
    unaugmented = {"image_size": (24, 20), "scale_range": (1, 1), "photometric_distortion": False}
    for options in ({"do_normalize": False}, {"image_mean": MEAN, "image_std": STD}):
        processor = SegformerImageProcessor(size={"height": 24, "width": 20}, **options)
        (trained_on,), (scored,) = (
            training_examples(stored, processor, **unaugmented),
            evaluation_examples(stored, processor),
        )
        views = (scored["pixel_values"], scored["pixel_values"].flip(-1))
        assert any(torch.allclose(trained_on["pixel_values"], view, atol=1e-6) for view in views)


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
    stored, transform = dataset(), train_transform((16, 16), MEAN, STD)
    stream = stored.to_iterable_dataset(num_shards=2)
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
