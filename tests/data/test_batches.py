"""What a trainer is given: batches of user-made data sets are checked, and epochs reach what augments."""

import numpy as np
import pytest
import torch
from helpers.rows import ids, rows
from torch.utils.data import ChainDataset, ConcatDataset, Dataset, StackDataset, Subset, random_split
from transformers import SegformerImageProcessor

from rss_hf.data import (
    SegmentationDataset,
    StreamingSegmentationDataset,
    check_batch,
    collate,
    set_epoch,
    train_transform,
)


def example(labels=None, pixel_values=None, **others):
    return {
        "pixel_values": torch.zeros(3, 8, 8) if pixel_values is None else pixel_values,
        "labels": torch.zeros(8, 8, dtype=torch.int64) if labels is None else labels,
    } | others


def whole(value, dtype=torch.int64, size=(8, 8)):
    return torch.full(size, value, dtype=dtype)


@pytest.mark.parametrize(
    ("examples", "told"),
    [
        ([example(whole(3))], ["[3]", "examples [0]", "0 to 2", "255"]),
        ([example(), example(whole(-100))], ["[-100]", "examples [1]", "semantic_loss_ignore_index"]),
        ([example(whole(-1))], ["[-1]"]),
        ([example(whole(255)), example(whole(254))], ["[254]", "examples [1]"]),
        ([example(whole(0, torch.float32))], ["labels is float32 of shape (1, 8, 8)", ".long()"]),
        ([example(whole(0, torch.float16))], ["float16", ".long()"]),
        ([example(whole(0, torch.uint8))], ["uint8", ".long()"]),
        ([example(whole(1, torch.int32))], ["int32", ".long()"]),
        ([example(whole(True, torch.bool))], ["bool", ".long()"]),
        ([example(whole(0, size=(1, 8, 8)))] * 2, ["(2, 1, 8, 8)", "squeeze(1)"]),
        ([example(whole(0, size=(8, 8, 1)))], ["(1, 8, 8, 1)", "(B, H, W)"]),
        ([example(whole(0, size=(3, 8, 8)))], ["(1, 3, 8, 8)", "(B, H, W)"]),
        ([example(whole(0, size=(4, 4)))], ["(1, 4, 4)", "(1, 3, 8, 8)"]),
        ([example(whole(0, size=()))], ["of shape (1,)"]),
        ([example(), example(whole(0, size=(8, 9)))], ["a list of Tensor (8, 8), Tensor (8, 9)"]),
        ([example(), example("x")], ["a list of Tensor (8, 8), str"]),
        ([example() | {"labels": None}, example()], ["labels is None in 1 of 2", "[0]"]),
        ([example() | {"labels": None}], ["labels is None in 1 of 1"]),
        ([example(np.full((8, 8), 7))], ["[7]"]),
        ([example(np.zeros((8, 8), np.uint8))], ["uint8", ".long()"]),
        ([example(pixel_values=np.zeros((8, 8, 3), np.uint8))], ["(1, 8, 8, 3)", "(B, 3, H, W)"]),
        ([example(pixel_values=torch.zeros(1, 8, 8))], ["(1, 1, 8, 8)", "(B, 3, H, W)"]),
        ([example(pixel_values=torch.zeros(3, 8, 8, dtype=torch.uint8))], ["uint8", "float32"]),
        ([example(pixel_values=torch.zeros(3, 8, 8, dtype=torch.float64))], ["float64", "float32"]),
        ([example(pixel_values=torch.full((3, 8, 8), float("nan")))], ["NaN or infinite", "examples [0]"]),
        ([example(), example(pixel_values=torch.full((3, 8, 8), float("inf")))], ["examples [1]"]),
        ([example(), example(pixel_values=torch.zeros(3, 9, 8))], ["a list of Tensor (3, 8, 8), Tensor (3, 9, 8)"]),
        ([{"image": torch.zeros(3, 8, 8)}], ["no pixel_values", "['image']"]),
    ],
)  # fmt: skip
def test_batches_that_cannot_be_learned_from_are_refused(examples, told):
    with pytest.raises(ValueError) as error:
        check_batch(collate(examples), 3, 255)
    for words in told:
        assert words in str(error.value)


@pytest.mark.parametrize(
    "examples",
    [
        [example(), example(whole(2))],
        [example(whole(255))],
        [example(np.ones((8, 8), np.int64), np.zeros((3, 8, 8), np.float32))],
        [{"pixel_values": torch.zeros(3, 8, 8), "tags": ["cat"]}],
    ],
)
def test_good_batches_pass(examples):
    check_batch(collate(examples), 3, 255)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="num_labels is 1"):
        check_batch(collate([example()]), 1, 255)


def test_arrays_become_tensors():
    batch = collate(
        [
            {"a": np.zeros((2, 2), np.float32), "b": np.zeros(2), "id": "x"},
            {"a": np.ones((2, 2), np.float32), "b": np.zeros(3), "id": "y"},
        ]
    )
    assert batch["a"].shape == (2, 2, 2) and batch["a"].dtype == torch.float32 and batch["a"][1].sum() == 4
    assert [part.shape for part in batch["b"]] == [(2,), (3,)] and batch["id"] == ["x", "y"]


class Wrapped(Dataset):
    def __init__(self, dataset):
        self.dataset = dataset

    def __getitem__(self, index):
        return self.dataset[index]


def segmentation_set(kind=SegmentationDataset):
    stored = rows([ids()] * 4)
    stored = stored if kind is SegmentationDataset else stored.to_iterable_dataset()
    return kind(stored, train_transform((8, 8), [0.5] * 3, [0.5] * 3), seed=1)


WRAPPERS = {
    "itself": lambda inner: inner,
    "subset": lambda inner: Subset(inner, [0, 1]),
    "split": lambda inner: random_split(inner, [2, 2])[0],
    "subset of a subset": lambda inner: Subset(Subset(inner, [0, 1]), [0]),
    "concat": lambda inner: ConcatDataset([[1, 2], inner]),
    "concat of subsets": lambda inner: ConcatDataset([Subset(inner, [0]), Subset(inner, [1])]),
    "stack": lambda inner: StackDataset(inner, inner),
    "named stack": lambda inner: StackDataset(a=inner),
    "own": lambda inner: Wrapped(inner),
    "own of concat": lambda inner: Wrapped(ConcatDataset([inner])),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_epoch_reaches_what_augments(wrapper):
    inner = segmentation_set()
    outer = WRAPPERS[wrapper](inner)
    before = inner[0]["pixel_values"].clone()
    set_epoch(outer, 1)
    assert inner.epoch == 1 and not torch.equal(inner[0]["pixel_values"], before)
    set_epoch(outer, 0)
    assert torch.equal(inner[0]["pixel_values"], before)


def test_the_epoch_reaches_streams_and_passes_by_what_has_none():
    inner = segmentation_set(StreamingSegmentationDataset)
    set_epoch(ChainDataset([inner]), 2)
    assert inner.epoch == 2 and inner.dataset.epoch == 2
    for without in ([1, 2], rows([ids()]), ConcatDataset([[1], [2]]), {"pixel_values": 1}):
        set_epoch(without, 3)


@pytest.mark.parametrize("kind", ["memory", "stream", "raw rows"])
def test_binary_masks_are_refused_wherever_they_come_from(kind):
    from rss_hf.data import evaluation_examples, training_examples
    from rss_hf.data.examples import BINARY_ROWS

    processor = SegformerImageProcessor(size={"height": 8, "width": 8})
    bad = rows([ids((0, 255))] * 3)
    many = rows([ids((0, 255))] * BINARY_ROWS + [ids((1,))])
    good = rows([ids((0, 255)), ids((0,)), ids((255,)), ids((1, 0))])
    for make in (training_examples, evaluation_examples):
        if kind == "stream":
            bad, good, many = (
                stored.to_iterable_dataset() if hasattr(stored, "shuffle") and hasattr(stored, "data") else stored
                for stored in (bad, good, many)
            )
            with pytest.raises(ValueError, match="64 masks, all so far, hold only 0 and 255.*as 1"):
                list(make(many, processor))
        else:
            assert len(list(make(many, processor))) == BINARY_ROWS + 1
        with pytest.raises(ValueError, match="all masks hold only 0 and 255.*as 1"):
            list(make(bad, processor, num_classes=2))
        assert len(list(make(good, processor, num_classes=2))) == 4
