"""From an image and its mask to tensors: augmented for training, labels as they are for scoring."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from transformers.image_processing_utils import BaseImageProcessor

from ..constants import IGNORE_INDEX


Transform = Callable[[tv_tensors.Image, tv_tensors.Mask | None], tuple[torch.Tensor, torch.Tensor | None]]
"""Image (3, h, w) uint8 and mask (h, w) uint8 or None -> pixel values (3, H, W) float32 and labels int64 or None."""


class RandomCropLarger(v2.Transform):
    """
    Crops, at a random place, the sides that are longer than `size` = (H, W): (..., h, w) -> (..., <=H, <=W).

    To crop before the colours are distorted and to pad ([`RandomPadSmaller`]) after is 1.7 times as fast as one
    `v2.RandomCrop(pad_if_needed=True)` at the end: 500x375 pixels to 512x512, scale 0.5 to 2, one CPU thread.
    """

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
    place. Images are padded with 0, which after normalisation is the mean colour, masks with `ignore_index`.
    """

    def __init__(self, size: tuple[int, int], ignore_index: int = IGNORE_INDEX):
        super().__init__()
        self.size = size
        self.fill = {tv_tensors.Image: 0, tv_tensors.Mask: ignore_index}

    def make_params(self, flat_inputs: list[Any]) -> dict[str, list[int]]:
        height, width = v2.query_size(flat_inputs)
        missing_height, missing_width = max(self.size[0] - height, 0), max(self.size[1] - width, 0)
        top, left = int(torch.randint(missing_height + 1, ())), int(torch.randint(missing_width + 1, ()))
        return {"padding": [left, top, missing_width - left, missing_height - top]}

    def transform(self, inpt: Any, params: dict[str, list[int]]) -> Any:
        if not any(params["padding"]):
            return inpt
        return v2.functional.pad(inpt, **params, fill=self.fill[type(inpt)])


def train_transform(
    image_size: tuple[int, int],
    image_mean: Sequence[float],
    image_std: Sequence[float],
    scale_range: tuple[float, float] = (0.5, 2.0),
    photometric_distortion: bool = True,
    ignore_index: int = IGNORE_INDEX,
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
        ignore_index (`int`, *optional*, defaults to 255):
            The label of padding.

    Returns:
        [`Transform`]: image (3, h, w) uint8 and mask (h, w) uint8 or None -> pixel values (3, H, W) float32,
        normalised, and labels (H, W) int64, the ids of the mask and `ignore_index` for padding, or None. Its
        randomness comes from torch's CPU generator.

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
            RandomPadSmaller(image_size, ignore_index),
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
