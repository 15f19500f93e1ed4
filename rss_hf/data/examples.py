"""The rows of a data set as examples, and examples as batches: each example has a random stream that is its own."""

from collections.abc import Iterator, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info
from torchvision import tv_tensors

from .masks import (
    VOC_PALETTE,
    VOID,
    load,
    mask_to_indices,
    open_pair,
    present_ids,
    refuse_unknown_ids,
    row_name,
    undecoded,
)
from .transforms import Transform


POSITIONS = 256  # a side of the grid on which pixels are found again


class SegmentationDataset(Dataset):
    """
    Rows of a data set as examples, each augmented by a random stream that is its own.

    The stream of an example depends on (`seed`, `epoch`, index) and nothing else: not on the number of workers, on
    what was read before it, or on whether the run was resumed. No other random state, of CPU or GPU, is touched.

    Args:
        dataset (`datasets.Dataset`):
            Column `image`, maybe `mask`, and any others.
        transform ([`Transform`]):
            What [`train_transform`] returns, an [`EvalTransform`], or another function of that kind; random, if at
            all, from torch's CPU generator.
        seed (`int`, *optional*, defaults to 42):
            Not negative.
        positions (`bool`, *optional*, defaults to `False`):
            Also say which image it is and where in it each pixel was, for credits that remember what was judged.
            `transform` is then given a mask (2, h, w) int64, class ids and places, or only the latter: (1, h, w).

    Raises:
        `ValueError`: no column `image`, or columns called as the tensors made here.
    """

    def __init__(self, dataset: datasets.Dataset, transform: Transform, seed: int = 42, positions: bool = False):
        made = {"pixel_values", "labels"} | ({"image_index", "image_positions"} if positions else set())
        _check_columns(dataset.column_names, made)
        self.positions = positions
        self.dataset = undecoded(dataset)
        self.transform = transform
        self.seed = seed
        # Shared memory, because workers that outlive an epoch hold a copy of this object.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Gives every example the augmentation of that epoch, counted from 0, in running workers too."""
        self.epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """
        Returns:
            `dict`: `pixel_values` (3, H, W) float32, `labels` int64 of the transform's size if there is a mask, and
            every other column as it is; with `positions` also `image_index`, int, and `image_positions` (H, W) int64:
            the place y `POSITIONS` + x of each pixel on a grid of `POSITIONS` a side laid over the image, -1 for
            padding.

        Raises:
            `ValueError`: an image or mask that cannot be read, or whose sizes differ.
        """
        row = self.dataset[index]
        seeds, where = (self.seed, self.epoch.item(), index), row_name(row, index)
        image, mask = open_row(row, where)
        if not self.positions:
            return make_example(row, image, mask, self.transform, seeds)
        example = make_example(row, image, add_positions(image, mask), self.transform, seeds)
        *labels, places = example.pop("labels")
        positions = torch.where(places == VOID, -1, places - VOID - 1)
        example |= {"image_index": torch.tensor(index), "image_positions": positions}
        return example | ({"labels": labels[0]} if labels else {})


class StreamingSegmentationDataset(IterableDataset):
    """
    [`SegmentationDataset`] for a data set that is streamed; each mask is checked as it is read.

    The random stream of an example comes from (`seed`, `epoch`, worker, its position in the stream).

    Args:
        dataset (`datasets.IterableDataset`):
            Column `image`, maybe `mask`, and any others.
        transform ([`Transform`]):
            As for [`SegmentationDataset`].
        seed (`int`, *optional*, defaults to 42):
            Not negative.
        num_classes (`int`, *optional*):
            Where given, ids that are neither below it nor 255 raise `ValueError`, naming the row.
    """

    def __init__(
        self, dataset: datasets.IterableDataset, transform: Transform, seed: int = 42, num_classes: int | None = None
    ):
        _check_columns(dataset.column_names, {"pixel_values", "labels"})
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self.num_classes = num_classes
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Gives the rows the order, and the examples the augmentation, of that epoch, counted from 0."""
        self.epoch.fill_(epoch)
        self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        worker_id = 0 if worker is None else worker.id
        for index, row in enumerate(self.dataset):
            image, mask = open_row(row, f"streamed {row_name({}, index)}", self.num_classes)
            yield make_example(row, image, mask, self.transform, (self.seed, self.epoch.item(), worker_id, index))


def open_row(
    row: dict[str, Any], where: str, num_classes: int | None = None
) -> tuple[tv_tensors.Image, tv_tensors.Mask | None]:
    """
    The image (3, h, w) uint8, RGB, and the class ids (h, w) uint8 of a row, None without a mask.

    Args:
        row (`dict`):
            `image` and maybe `mask`, as [`~rss_hf.data.masks.open_pair`] takes them.
        where (`str`):
            The row, for the errors.
        num_classes (`int`, *optional*):
            Where given, ids that are neither below it nor 255 raise `ValueError`.
    """
    image, mask = open_pair(row, where)
    load(image, f"{where}: the image")
    image = tv_tensors.Image(image.convert("RGB"))
    if mask is None:
        return image, None
    indices = mask_to_indices(mask, VOC_PALETTE, where)
    if num_classes is not None:
        refuse_unknown_ids(present_ids(indices), num_classes, where)
    return image, tv_tensors.Mask(torch.from_numpy(indices))


def make_example(
    row: dict[str, Any],
    image: tv_tensors.Image,
    mask: tv_tensors.Mask | None,
    transform: Transform,
    seeds: Sequence[int],
) -> dict[str, Any]:
    """
    `pixel_values` (3, H, W) float32 and, with a mask, `labels` int64 of the image and mask of a row, transformed under
    a random stream made from `seeds`, none of them negative; and the row's other columns as they are.
    """
    pixel_values, labels = transform_with_seeds(transform, image, mask, seeds)
    example = {name: value for name, value in row.items() if name not in ("image", "mask")}
    example["pixel_values"] = pixel_values
    if labels is not None:
        example["labels"] = labels
    return example


def add_positions(image: tv_tensors.Image, mask: tv_tensors.Mask | None) -> tv_tensors.Mask:
    """Class ids, if any, and the place of each pixel, which is never that of padding: (1 or 2, h, w) int64."""
    y, x = (torch.arange(side) * POSITIONS // side for side in image.shape[-2:])
    places = y[:, None] * POSITIONS + x + VOID + 1
    return tv_tensors.Mask(torch.stack([places] if mask is None else [mask.long(), places]))


def transform_with_seeds(
    transform: Transform, image: tv_tensors.Image, mask: tv_tensors.Mask | None, seeds: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`transform(image, mask)` under a random stream made from `seeds`, no other random state being touched."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would seed the GPU too, whose state fork_rng does not restore here.
        torch.default_generator.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
        return transform(image, mask)


def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
    """
    A batch from examples with the same keys: tensors of equal shape (...) become one of (B, ...), all else a list.
    """
    batch = {name: [example[name] for example in examples] for name in examples[0]}
    for name, values in batch.items():
        if all(isinstance(value, torch.Tensor) and value.shape == values[0].shape for value in values):
            batch[name] = torch.stack(values)
    return batch


def _check_columns(columns: list[str], made: set[str]) -> None:
    if "image" not in columns:
        raise ValueError(f"The data set has no column 'image', only {columns}. Rename the one that holds the images.")
    clash = made & set(columns)
    if clash:
        raise ValueError(
            f"The columns {sorted(clash)} would be overwritten by the tensors of that name. Rename or remove them."
        )
