"""The rows of a data set as examples, and examples as batches: each example has a random stream that is its own."""

from collections.abc import Iterator, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info
from torchvision import tv_tensors
from transformers.image_processing_utils import BaseImageProcessor

from ..constants import IGNORE_INDEX, POSITION_GRID
from .columns import Rows, known_features, rename_columns
from .masks import parse_palette
from .rows import keep_encoded, open_row, row_name
from .transforms import EvalTransform, Transform, train_transform


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
            Also say which image it is and where in its image each pixel was. `transform` is then given a mask
            (2, h, w) int64, class ids and positions, or only the latter: (1, h, w).
        ignore_index (`int`, *optional*, defaults to 255):
            The label of pixels that are 255 in a mask file.
        palette (`list[tuple[int, int, int]]` or `list[str]`, *optional*):
            The colour of each class, for RGB masks, which are refused without it.
        num_classes (`int`, *optional*):
            Where given, ids that are neither below it nor 255 raise `ValueError`, naming the row.

    Raises:
        `ValueError`: no column `image`, columns called as the tensors made here, or a wrong palette.
    """

    def __init__(
        self,
        dataset: datasets.Dataset,
        transform: Transform,
        seed: int = 42,
        positions: bool = False,
        ignore_index: int = IGNORE_INDEX,
        palette: Sequence[str | Sequence[int]] | None = None,
        num_classes: int | None = None,
    ):
        made = {"pixel_values", "labels"} | ({"image_index", "image_positions"} if positions else set())
        _check_columns(dataset.column_names, made)
        self.dataset = keep_encoded(dataset)
        self.transform = transform
        self.seed = seed
        self.positions = positions
        self.ignore_index = ignore_index
        self.palette = parse_palette(palette, num_classes)
        self.num_classes = num_classes
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
            every other column as it is; with `positions` also `image_index`, int64 in [0, rows), and
            `image_positions` (H, W) int64: the cell y `POSITION_GRID` + x of each pixel on a grid of `POSITION_GRID`
            cells a side laid over the image, -1 for padding.

        Raises:
            `ValueError`: an image or mask that cannot be read, or whose sizes differ.
        """
        row = self.dataset[index]
        seeds = (self.seed, self.epoch.item(), index)
        image, mask = _open_as_tensors(row, row_name(row, index), self.palette, self.num_classes)
        if not self.positions:
            return make_example(row, image, mask, self.transform, seeds, self.ignore_index)
        first = max(IGNORE_INDEX, self.ignore_index) + 1  # what padding has is below
        positions = _pixel_positions(*image.shape[-2:]) + first
        both = torch.stack([positions] if mask is None else [mask.long(), positions])
        example = make_example(row, image, tv_tensors.Mask(both), self.transform, seeds, self.ignore_index)
        *labels, positions = example.pop("labels")
        example["image_index"] = torch.tensor(index)
        example["image_positions"] = torch.where(positions < first, -1, positions - first)
        return example | ({"labels": labels[0]} if labels else {})


class StreamingSegmentationDataset(IterableDataset):
    """
    [`SegmentationDataset`] for a data set that is streamed; each mask is checked as it is read.

    The random stream of an example comes from (`seed`, `epoch`, worker, its position in the stream).

    Args:
        dataset (`datasets.IterableDataset`):
            Column `image`, maybe `mask`, and any others.
        transform, seed, ignore_index, palette, num_classes:
            As for [`SegmentationDataset`].
    """

    def __init__(
        self,
        dataset: datasets.IterableDataset,
        transform: Transform,
        seed: int = 42,
        ignore_index: int = IGNORE_INDEX,
        palette: Sequence[str | Sequence[int]] | None = None,
        num_classes: int | None = None,
    ):
        _check_columns(list(known_features(dataset)), {"pixel_values", "labels"})
        self.dataset = keep_encoded(dataset)
        self.transform = transform
        self.seed = seed
        self.ignore_index = ignore_index
        self.palette = parse_palette(palette, num_classes)
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
            where = f"streamed {row_name(row, index)}"
            image, mask = _open_as_tensors(row, where, self.palette, self.num_classes)
            seeds = (self.seed, self.epoch.item(), worker_id, index)
            yield make_example(row, image, mask, self.transform, seeds, self.ignore_index)


def training_examples(
    rows: Rows,
    image_processor: BaseImageProcessor,
    *,
    image_size: tuple[int, int] | None = None,
    scale_range: tuple[float, float] = (0.5, 2.0),
    photometric_distortion: bool = True,
    seed: int = 42,
    positions: bool = False,
    ignore_index: int = IGNORE_INDEX,
    palette: Sequence[str | Sequence[int]] | None = None,
    num_classes: int | None = None,
) -> SegmentationDataset | StreamingSegmentationDataset:
    """
    Rows as augmented examples, normalised as the image processor does.

    Args:
        rows (`datasets.Dataset` or `datasets.IterableDataset`):
            A column of images and maybe one of masks, found by [`rename_columns`]; without masks the examples have no
            `labels`. Other columns come along.
        image_processor (`BaseImageProcessor`):
            The one of the model.
        image_size (`tuple[int, int]`, *optional*, defaults to the size of the image processor):
            Height and width of the examples, in pixels.
        scale_range, photometric_distortion:
            As for [`train_transform`].
        seed, positions, ignore_index, palette, num_classes:
            As for [`SegmentationDataset`].

    Returns:
        [`SegmentationDataset`], or [`StreamingSegmentationDataset`] for a stream.

    Raises:
        `ValueError`: `image_size` left out where the processor has no height and width, `positions` of a stream, or
        what the data sets refuse.
    """
    normalizes = image_processor.do_normalize
    transform = train_transform(
        _processed_size(image_processor) if image_size is None else tuple(image_size),
        image_processor.image_mean if normalizes else [0, 0, 0],
        image_processor.image_std if normalizes else [1, 1, 1],
        scale_range=scale_range,
        photometric_distortion=photometric_distortion,
        ignore_index=ignore_index,
    )
    rows, options = rename_columns(rows), (ignore_index, palette, num_classes)
    if not isinstance(rows, datasets.IterableDataset):
        return SegmentationDataset(rows, transform, seed, positions, *options)
    if positions:
        raise ValueError(
            "positions needs random access to the rows, which a stream does not give. Load the data set without "
            "streaming."
        )
    return StreamingSegmentationDataset(rows, transform, seed, *options)


def evaluation_examples(
    rows: Rows,
    image_processor: BaseImageProcessor,
    *,
    ignore_index: int = IGNORE_INDEX,
    palette: Sequence[str | Sequence[int]] | None = None,
    num_classes: int | None = None,
) -> SegmentationDataset | StreamingSegmentationDataset:
    """
    Rows as examples to score: pixel values as the image processor makes them, labels of the size of the mask.

    The arguments are those of [`training_examples`].
    """
    rows, transform = rename_columns(rows), EvalTransform(image_processor)
    kind = StreamingSegmentationDataset if isinstance(rows, datasets.IterableDataset) else SegmentationDataset
    return kind(rows, transform, ignore_index=ignore_index, palette=palette, num_classes=num_classes)


def _processed_size(image_processor: BaseImageProcessor) -> tuple[int, int]:
    size = dict(image_processor.size)
    if set(size) != {"height", "width"}:
        raise ValueError(
            f"The size of the image processor, {size}, does not say a height and a width. Pass image_size, the "
            "(height, width) of training examples in pixels."
        )
    return size["height"], size["width"]


def make_example(
    row: dict[str, Any],
    image: tv_tensors.Image,
    mask: tv_tensors.Mask | None,
    transform: Transform,
    seeds: Sequence[int],
    ignore_index: int = IGNORE_INDEX,
) -> dict[str, Any]:
    """
    `pixel_values` (3, H, W) float32 and, with a mask, `labels` int64 of the image and mask of a row, transformed under
    a random stream made from `seeds`, none of them negative; and the row's other columns as they are. Pixels that are
    255 in the mask are labelled `ignore_index`.
    """
    pixel_values, labels = transform_with_seeds(transform, image, mask, seeds)
    example = {name: value for name, value in row.items() if name not in ("image", "mask")}
    example["pixel_values"] = pixel_values
    if labels is not None:
        example["labels"] = labels.where(labels != IGNORE_INDEX, ignore_index)
    return example


def _open_as_tensors(
    row: dict[str, Any], where: str, palette: list[tuple[int, int, int]] | None, num_classes: int | None
) -> tuple[tv_tensors.Image, tv_tensors.Mask | None]:
    """The image (3, h, w) uint8, RGB, and the class ids (h, w) uint8 of a row, None without a mask."""
    image, indices = open_row(row, where, palette, num_classes)
    return tv_tensors.Image(image), None if indices is None else tv_tensors.Mask(torch.from_numpy(indices))


def _pixel_positions(height: int, width: int) -> torch.Tensor:
    """The cell y `POSITION_GRID` + x of each pixel, (height, width) int64."""
    y, x = (torch.arange(side) * POSITION_GRID // side for side in (height, width))
    return y[:, None] * POSITION_GRID + x


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
