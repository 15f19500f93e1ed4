"""The rows of a data set as examples, and examples as batches: each example has a random stream that is its own."""

from collections.abc import Iterator, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info
from torchvision import tv_tensors

from ..constants import IGNORE_INDEX, POSITION_GRID
from .columns import known_features
from .masks import binary_masks, has_classes, is_binary, mask_to_indices, parse_palette
from .rows import file_name, is_missing, keep_encoded, open_mask, open_row
from .transforms import Transform
from .views import VIEW_COLUMNS, View


BINARY_ROWS = 64  # masks of 0 and 255 alone after which a stream is taken to hold no others


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
        reduce_labels (`bool`, *optional*, defaults to `False`):
            Whether ids of mask files count from 1, see [`~rss_hf.data.rows.open_row`].
        views (`bool`, *optional*, defaults to `False`):
            Also say which part of its image an example shows. `transform` is then one of
            [`train_transform`] or an [`EvalTransform`].

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
        reduce_labels: bool = False,
        views: bool = False,
    ):
        _check_columns(dataset.column_names, views, {"image_index", "image_positions"} if positions else set())
        self.dataset = keep_encoded(dataset)
        self.transform = transform
        self.seed = seed
        self.positions = positions
        self.ignore_index = ignore_index
        self.palette = parse_palette(palette, num_classes)
        self.num_classes = num_classes
        self.reduce_labels = reduce_labels
        self.views = views
        self._has_classes = False  # whether a mask was read with another id than 0 and 255
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
            `dict`: `pixel_values` (3, H, W) float32, `labels` int64 of the transform's size if there is a column of
            masks, all `ignore_index` where `mask` is None, and every other column as it is. With `positions` also
            `image_index`, int64 in [0, rows), and `image_positions` (H, W) int64: the cell y `POSITION_GRID` + x of
            each pixel on a grid of `POSITION_GRID`
            cells a side laid over the image, -1 for padding. With `views` also `valid` (H, W) bool, true where image
            is and not padding; `crop` (4,) float32, the top, left, bottom and right of what is seen, as fractions of
            the whole upright image, in which a flipped example is found unflipped; and `flipped` () bool.

        Raises:
            `ValueError`: an image or mask that cannot be read, or whose sizes differ; masks that all hold only 0 and
            255.
        """
        row = self.dataset[index]
        seeds = (self.seed, self.epoch.item(), index)
        image, mask = _open_as_tensors(row, f"row {index}", self.palette, self.num_classes, self.reduce_labels)
        if mask is not None and not self._has_classes and not is_missing(row["mask"]):
            self._has_classes = self.reduce_labels or not is_binary(mask.numpy()) or self._find_classes()
        if not self.positions:
            return make_example(row, image, mask, self.transform, seeds, self.ignore_index, self.views)
        first = max(IGNORE_INDEX, self.ignore_index) + 1  # what padding has is below
        positions = _pixel_positions(*image.shape[-2:]) + first
        both = torch.stack([positions] if mask is None else [mask.long(), positions])
        mask = tv_tensors.Mask(both)
        example = make_example(row, image, mask, self.transform, seeds, self.ignore_index, self.views)
        *labels, positions = example.pop("labels")
        example["image_index"] = torch.tensor(index)
        example["image_positions"] = torch.where(positions < first, -1, positions - first)
        return example | ({"labels": labels[0]} if labels else {})

    def _find_classes(self) -> bool:
        """Whether any mask holds another id than 0 and 255; `ValueError` where none does."""
        for index, row in enumerate(self.dataset.select_columns(["mask"])):
            where = file_name(f"row {index}", row["mask"])
            if not is_missing(row["mask"]) and has_classes(
                mask_to_indices(open_mask(row["mask"], where), self.palette, where)
            ):
                return True
        raise ValueError(binary_masks("all masks"))


class StreamingSegmentationDataset(IterableDataset):
    """
    [`SegmentationDataset`] for a data set that is streamed; each mask is checked as it is read.

    The random stream of an example comes from (`seed`, `epoch`, worker, its position in the stream).

    Args:
        dataset (`datasets.IterableDataset`):
            Column `image`, maybe `mask`, and any others.
        transform, seed, ignore_index, palette, num_classes, reduce_labels, views:
            As for [`SegmentationDataset`].

    Raises:
        `ValueError`: what [`SegmentationDataset`] refuses. Masks of 0 and 255 are refused at the `BINARY_ROWS`th, or
        at the end of the stream, if there was no other id before.
    """

    def __init__(
        self,
        dataset: datasets.IterableDataset,
        transform: Transform,
        seed: int = 42,
        ignore_index: int = IGNORE_INDEX,
        palette: Sequence[str | Sequence[int]] | None = None,
        num_classes: int | None = None,
        reduce_labels: bool = False,
        views: bool = False,
    ):
        _check_columns(list(known_features(dataset)), views)
        self.dataset = keep_encoded(dataset)
        self.transform = transform
        self.seed = seed
        self.ignore_index = ignore_index
        self.palette = parse_palette(palette, num_classes)
        self.num_classes = num_classes
        self.reduce_labels = reduce_labels
        self.views = views
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Gives the rows the order, and the examples the augmentation, of that epoch, counted from 0."""
        self.epoch.fill_(epoch)
        self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        worker_id = 0 if worker is None else worker.id
        num_binary, known = 0, self.reduce_labels
        for index, row in enumerate(self.dataset):
            where = f"streamed row {index}"
            image, mask = _open_as_tensors(row, where, self.palette, self.num_classes, self.reduce_labels)
            if mask is not None and not known:
                known = has_classes(mask.numpy())
                num_binary += is_binary(mask.numpy())
                if not known and num_binary == BINARY_ROWS:
                    raise ValueError(binary_masks(f"{BINARY_ROWS} masks, all so far,"))
            seeds = (self.seed, self.epoch.item(), worker_id, index)
            yield make_example(row, image, mask, self.transform, seeds, self.ignore_index, self.views)
        if num_binary and not known and worker is None:
            raise ValueError(binary_masks("all masks"))


def set_epoch(dataset: Any, epoch: int) -> None:
    """
    Tells the epoch, counted from 0, to all data sets that augment by it: `dataset` itself, and what `Subset`,
    `ConcatDataset` and others hold as `dataset` or `datasets`.
    """
    if hasattr(dataset, "set_epoch"):
        dataset.set_epoch(epoch)
    if isinstance(dataset, Dataset):  # torch's; IterableDataset is one too
        attributes = vars(dataset)
        inner = attributes.get("datasets", [attributes.get("dataset")])
        for part in inner.values() if isinstance(inner, dict) else inner:
            set_epoch(part, epoch)


def make_example(
    row: dict[str, Any],
    image: tv_tensors.Image,
    mask: tv_tensors.Mask | None,
    transform: Transform,
    seeds: Sequence[int],
    ignore_index: int = IGNORE_INDEX,
    views: bool = False,
) -> dict[str, Any]:
    """
    `pixel_values` (3, H, W) float32 and, with a mask, `labels` int64 of the image and mask of a row, transformed under
    a random stream made from `seeds`, none of them negative; and the row's other columns as they are. Pixels that are
    255 in the mask are labelled `ignore_index`. With `views` also the columns of [`~rss_hf.data.views.View`].
    """
    inputs = (image, mask, View.whole(*image.shape[-2:])) if views else (image, mask)
    pixel_values, labels, *view = transform_with_seeds(transform, inputs, seeds)
    example = {name: value for name, value in row.items() if name not in ("image", "mask")}
    example["pixel_values"] = pixel_values
    if labels is not None:
        example["labels"] = labels.where(labels != IGNORE_INDEX, ignore_index)
    return example | (view[0].columns() if view else {})


def _open_as_tensors(
    row: dict[str, Any],
    where: str,
    palette: list[tuple[int, int, int]] | None,
    num_classes: int | None,
    reduce_labels: bool,
) -> tuple[tv_tensors.Image, tv_tensors.Mask | None]:
    """The image (3, h, w) uint8, RGB, and the class ids (h, w) uint8 of a row, None without a mask."""
    image, indices = open_row(row, where, palette, num_classes, reduce_labels)
    return tv_tensors.Image(image), None if indices is None else tv_tensors.Mask(torch.from_numpy(indices))


def _pixel_positions(height: int, width: int) -> torch.Tensor:
    """The cell y `POSITION_GRID` + x of each pixel, (height, width) int64."""
    y, x = (torch.arange(side) * POSITION_GRID // side for side in (height, width))
    return y[:, None] * POSITION_GRID + x


def transform_with_seeds(transform: Transform, inputs: tuple, seeds: Sequence[int]) -> tuple:
    """`transform(*inputs)` under a random stream made from `seeds`, no other random state being touched."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would seed the GPU too, whose state fork_rng does not restore here.
        torch.default_generator.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
        return transform(*inputs)


def _check_columns(columns: list[str], views: bool, made: set[str] = frozenset()) -> None:
    """Refuses rows without images, and columns that would be overwritten by a tensor made of them."""
    if "image" not in columns:
        raise ValueError(f"The data set has no column 'image', only {columns}. Rename the one that holds the images.")
    clash = (made | {"pixel_values", "labels", *(VIEW_COLUMNS if views else ())}) & set(columns)
    if clash:
        raise ValueError(
            f"The columns {sorted(clash)} would be overwritten by the tensors of that name. Rename or remove them."
        )
