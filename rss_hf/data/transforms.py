"""From the row of a data set to the tensors of an example: augmented for training, labels as they are for scoring."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info
from torchvision import tv_tensors
from torchvision.transforms import v2
from transformers.image_processing_utils import BaseImageProcessor

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


POSITIONS = 256  # a side of the grid on which pixels are found again

Transform = Callable[[tv_tensors.Image, tv_tensors.Mask | None], tuple[torch.Tensor, torch.Tensor | None]]
"""Image (3, h, w) uint8 and mask (h, w) uint8 or None -> pixel values (3, H, W) float32 and labels int64 or None."""


class RandomCropLarger(v2.Transform):
    """Crops, at a random place, the sides that are longer than `size` = (H, W): (..., h, w) -> (..., <=H, <=W)."""

    def __init__(self, size: tuple[int, int]):
        super().__init__()
        self.size = size

    def make_params(self, flat_inputs: list[Any]) -> dict[str, int]:
        height, width = v2.query_size(flat_inputs)
        new_height, new_width = min(height, self.size[0]), min(width, self.size[1])
        top = int(torch.randint(height - new_height + 1, ()))
        left = int(torch.randint(width - new_width + 1, ()))
        return {"top": top, "left": left, "height": new_height, "width": new_width}

    def transform(self, inpt: Any, params: dict[str, int]) -> Any:
        return v2.functional.crop(inpt, **params)


class RandomPadSmaller(v2.Transform):
    """
    Pads the sides that are shorter than `size` = (H, W): (..., h, w) -> (..., >=H, >=W), the old content at a random
    place. Images are padded with 0, which after normalisation is the mean colour, masks with 255 (void).
    """

    def __init__(self, size: tuple[int, int]):
        super().__init__()
        self.size = size

    def make_params(self, flat_inputs: list[Any]) -> dict[str, list[int]]:
        height, width = v2.query_size(flat_inputs)
        missing_height, missing_width = max(self.size[0] - height, 0), max(self.size[1] - width, 0)
        top, left = int(torch.randint(missing_height + 1, ())), int(torch.randint(missing_width + 1, ()))
        return {"padding": [left, top, missing_width - left, missing_height - top]}

    def transform(self, inpt: Any, params: dict[str, list[int]]) -> Any:
        if not any(params["padding"]):
            return inpt
        return v2.functional.pad(inpt, **params, fill=VOID if isinstance(inpt, tv_tensors.Mask) else 0)


def train_transform(
    image_size: tuple[int, int],
    image_mean: Sequence[float],
    image_std: Sequence[float],
    scale_range: tuple[float, float] = (0.5, 2.0),
    photometric_distortion: bool = True,
) -> Transform:
    """
    Augmentation for training: scale, crop, flip, distort the colours, normalise, pad.

    Args:
        image_size (`tuple[int, int]`):
            Height and width of what comes out, in pixels.
        image_mean (`list[float]`):
            Mean of R, G and B, in the range 0 to 1. Padding has this colour, so it is 0 after normalisation.
        image_std (`list[float]`):
            Standard deviation of R, G and B, in the same range.
        scale_range (`tuple[float, float]`, *optional*, defaults to `(0.5, 2.0)`):
            The image is resized, in its proportions, to a random multiple within this range of the largest size that
            fits into `image_size`. `(1, 1)` resizes nothing: the image is cropped and padded at the scale it has.
        photometric_distortion (`bool`, *optional*, defaults to `True`):
            Randomly change brightness, contrast, saturation and hue and permute the channels.

    Returns:
        [`Transform`]: image (3, h, w) uint8 and mask (h, w) uint8 or None -> pixel values (3, H, W) float32,
        normalised, and labels (H, W) int64, class ids and 255 for void and padding, or None. Its randomness comes
        from torch's CPU generator.

    Raises:
        `ValueError`: a scale range that is empty or not positive.
    """
    if not 0 < scale_range[0] <= scale_range[1]:
        raise ValueError(f"scale_range must be two positive numbers, the smaller first, got {scale_range}.")
    # ScaleJitter divides target_size[1] by the height and target_size[0] by the width: it wants (width, height).
    scale = [] if tuple(scale_range) == (1, 1) else [v2.ScaleJitter(tuple(image_size[::-1]), tuple(scale_range))]
    distort = [v2.RandomPhotometricDistort()] if photometric_distortion else []
    return v2.Compose(
        [
            *scale,
            RandomCropLarger(image_size),
            v2.RandomHorizontalFlip(),
            *distort,
            v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64}, scale=True),
            v2.Normalize(image_mean, image_std),
            RandomPadSmaller(image_size),
            v2.ToPureTensor(),
        ]
    )


class EvalTransform:
    """
    For scoring: pixel values as the model's image processor makes them, labels untouched.

    Args:
        image_processor (`BaseImageProcessor`):
            The one saved with the model, so that scores and later use see the same pixels.
    """

    def __init__(self, image_processor: BaseImageProcessor):
        self.image_processor = image_processor

    def __call__(
        self, image: tv_tensors.Image, mask: tv_tensors.Mask | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(3, h, w) uint8, (h, w) uint8 -> (3, H, W) float32, (h, w) int64."""
        inputs = self.image_processor(image.as_subclass(torch.Tensor), input_data_format="channels_first")
        labels = None if mask is None else mask.as_subclass(torch.Tensor).long()
        return torch.as_tensor(inputs["pixel_values"][0]), labels


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
            Also say which image it is and where in it each pixel was, for `credit="critic"`.

    Raises:
        `ValueError`: no column `image`, or columns called as the tensors made here, `pixel_values` or `labels`.
    """

    def __init__(self, dataset: datasets.Dataset, transform: Transform, seed: int = 42, positions: bool = False):
        _check_columns(dataset.column_names)
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
        example = make_example(row, self.transform, seeds, where)
        if self.positions:
            example |= {
                "image_index": torch.tensor(index),
                "image_positions": find_positions(row, self.transform, seeds),
            }
        return example


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
        _check_columns(dataset.column_names)
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
            seeds = (self.seed, self.epoch.item(), worker_id, index)
            yield make_example(row, self.transform, seeds, f"streamed {row_name({}, index)}", self.num_classes)


def make_example(
    row: dict[str, Any], transform: Transform, seeds: Sequence[int], where: str, num_classes: int | None = None
) -> dict[str, Any]:
    """
    One example from one row.

    Args:
        row (`dict`):
            `image`, maybe `mask`, as [`~rss_hf.data.masks.open_pair`] takes them, and other columns.
        transform ([`Transform`]):
            Applied under a random stream made from `seeds`.
        seeds (`Sequence[int]`):
            Not negative.
        where (`str`):
            The row, for the errors.
        num_classes (`int`, *optional*):
            Where given, the mask ids are checked against it.

    Returns:
        `dict`: `pixel_values` (3, H, W) float32, `labels` int64 if the row has a mask, and the other columns.
    """
    image, mask = open_pair(row, where)
    load(image, f"{where}: the image")
    image = tv_tensors.Image(image.convert("RGB"))
    if mask is not None:
        indices = mask_to_indices(mask, VOC_PALETTE, where)
        if num_classes is not None:
            refuse_unknown_ids(present_ids(indices), num_classes, where)
        mask = tv_tensors.Mask(torch.from_numpy(indices))
    pixel_values, labels = transform_with_seeds(transform, image, mask, seeds)
    example = {name: value for name, value in row.items() if name not in ("image", "mask")}
    example["pixel_values"] = pixel_values
    if labels is not None:
        example["labels"] = labels
    return example


def find_positions(row: dict[str, Any], transform: Transform, seeds: Sequence[int]) -> torch.Tensor:
    """Where in the image of a row each pixel of its example was, (H, W) int64: a mask of places, transformed alike."""
    image = tv_tensors.Image(open_pair(row, "")[0].convert("RGB"))
    y, x = (torch.arange(side) * POSITIONS // side for side in image.shape[-2:])
    places = tv_tensors.Mask(y[:, None] * POSITIONS + x + VOID + 1)  # no place is VOID, the padding of a mask
    _, places = transform_with_seeds(transform, image, places, seeds)
    return torch.where(places == VOID, -1, places - VOID - 1)


def transform_with_seeds(transform, image, mask, seeds):
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


def _check_columns(columns: list[str]) -> None:
    if "image" not in columns:
        raise ValueError(f"The data set has no column 'image', only {columns}. Rename the one that holds the images.")
    clash = {"pixel_values", "labels"} & set(columns)
    if clash:
        raise ValueError(
            f"The columns {sorted(clash)} would be overwritten by the tensors of that name. Rename or remove them."
        )
