"""From an image and its mask to tensors: augmented for training, labels as they are for scoring."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from transformers.image_processing_utils import BaseImageProcessor

from ..constants import IGNORE_INDEX
from .views import View


Transform = Callable[[tv_tensors.Image, tv_tensors.Mask | None], tuple[torch.Tensor, torch.Tensor | None]]
"""
Image (3, h, w) uint8 and mask (h, w) uint8 or None -> pixel values (3, H, W) float32 and labels int64 or None. Those
made here also take a [`~rss_hf.data.views.View`] (h, w) after these two, and give back that of (H, W).
"""


SCALE_RANGE = (0.5, 2.0)
MAX_SCALE = 16  # times the size that fits: a larger image costs minutes and holds a few blurred pixels


class ScaleJitter(v2.ScaleJitter):
    """torchvision's, with something left of each side: of 2000x40 pixels too."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = super().make_params(flat_inputs)["size"]
        # torch fails to resize uint8 to a single pixel.
        return {"size": (max(height, 1), max(width, 1 if height > 1 else 2))}


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
        self.fill = {tv_tensors.Image: 0, tv_tensors.Mask: ignore_index, View: False}

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
    scale_range: tuple[float, float] = SCALE_RANGE,
    photometric_distortion: bool = True,
    ignore_index: int = IGNORE_INDEX,
    flip_channels: bool = False,
    whole_images: bool = False,
    interpolation: int = PIL.Image.Resampling.BILINEAR,
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
        flip_channels (`bool`, *optional*, defaults to `False`):
            Whether the channels come out as B, G, R.
        whole_images (`bool`, *optional*, defaults to `False`):
            Resize whole images to `image_size`, and their masks by nearest neighbour, instead of scaling, cropping,
            flipping and padding them: what is known of a whole image is then true of the example.
        interpolation (`int`, *optional*, defaults to bilinear):
            How whole images are resized, one of `PIL.Image.Resampling`.

    Returns:
        [`Transform`]: image (3, h, w) uint8 and mask (h, w) uint8 or None -> pixel values (3, H, W) float32,
        normalised, and labels (H, W) int64, the ids of the mask and `ignore_index` for padding, or None. Its
        randomness comes from torch's CPU generator.

    Raises:
        `ValueError`: a size that is no pair of positive whole numbers, a scale range that is empty, not positive or
        goes beyond `MAX_SCALE`.
    """
    if len(image_size) != 2 or not all(side == int(side) and side > 0 for side in image_size):
        raise ValueError(f"image_size must be a height and a width in pixels, got {image_size}.")
    if len(scale_range) != 2 or not 0 < scale_range[0] <= scale_range[1] <= MAX_SCALE:
        raise ValueError(
            f"scale_range must be two positive numbers up to {MAX_SCALE}, the smaller first, got {scale_range}."
        )
    if whole_images:
        place, pad = [v2.Resize(tuple(image_size), interpolation)], []
    else:
        place, pad = _random_place(image_size, scale_range), [RandomPadSmaller(image_size, ignore_index)]
    distort = [v2.RandomPhotometricDistort()] if photometric_distortion else []
    dtypes = {tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}
    return v2.Compose(
        [
            *place,
            *distort,
            v2.ToDtype(dtypes, scale=True),
            v2.Normalize(image_mean, image_std),
            *pad,
            *([FlipChannels()] if flip_channels else []),
            ToPureTensor(),
        ]
    )


def _random_place(image_size: tuple[int, int], scale_range: tuple[float, float]) -> list[v2.Transform]:
    # ScaleJitter divides target_size[1] by the height and target_size[0] by the width: it wants (width, height).
    scale = [] if tuple(scale_range) == (1, 1) else [ScaleJitter(tuple(image_size[::-1]), tuple(scale_range))]
    return [*scale, RandomCropLarger(image_size), v2.RandomHorizontalFlip()]


class ToPureTensor(v2.ToPureTensor):
    """torchvision's, which leaves a [`~rss_hf.data.views.View`] what it is."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return inpt if isinstance(inpt, View) else super().transform(inpt, params)


class FlipChannels(v2.Transform):
    """R, G, B as B, G, R, of images alone."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return inpt.flip(-3) if isinstance(inpt, tv_tensors.Image) else inpt


def like_processor(image_processor: BaseImageProcessor) -> dict[str, Any]:
    """The arguments of [`train_transform`] with which pixel values have the range and order of a processor's."""
    config = image_processor.to_dict()
    mean, std = (config["image_mean"], config["image_std"]) if config.get("do_normalize") else ([0] * 3, [1] * 3)
    # (pixel * factor - mean) / std, where train_transform starts from pixel / 255.
    largest = 255 * (config["rescale_factor"] if config.get("do_rescale") else 1)
    if largest != 1:
        mean, std = ([value / largest for value in values] for values in (mean, std))
    # A setting of a file that the processor's class does not know stays without effect.
    flips = "do_flip_channel_order" in image_processor.valid_kwargs.__annotations__
    resample = config.get("resample")
    return {
        "image_mean": mean,
        "image_std": std,
        "flip_channels": flips and bool(config["do_flip_channel_order"]),
        "interpolation": PIL.Image.Resampling.BILINEAR if resample is None else int(resample),
    }


def reduces_labels(image_processor: BaseImageProcessor) -> bool:
    """Whether ids of masks count from 1 for an image processor, and 0 is no class: `do_reduce_labels`, as ADE20K."""
    config = image_processor.to_dict()
    return bool(config.get("do_reduce_labels") or config.get("reduce_labels"))  # the latter in files of before 2023


def process_image(image_processor: BaseImageProcessor, image: PIL.Image.Image | torch.Tensor) -> torch.Tensor:
    """
    An image as a model sees it, whole and in the right place: what the image processor would cut off at the edges is
    resized with the rest, and nothing is padded. Evaluation, prediction and the demo all call this.

    Args:
        image_processor (`BaseImageProcessor`):
            The one saved with the model.
        image (`PIL.Image.Image` or `torch.Tensor`):
            Of mode RGB; or (3, h, w) uint8.

    Returns:
        `torch.Tensor`: (3, H, W) float32.
    """
    config = image_processor.to_dict()
    whole = {"do_pad": False} if config.get("do_pad") else {}
    if config.get("do_center_crop"):
        # Classification throws the edges away. The crop's size is the one that the model was made for.
        whole |= {"do_center_crop": False, "do_resize": True, "size": dict(config["crop_size"])}
    pixels = tv_tensors.Image(image).as_subclass(torch.Tensor)
    inputs = image_processor(pixels, input_data_format="channels_first", **whole)
    pixel_values = inputs["pixel_values"][0]
    if isinstance(pixel_values, np.ndarray):
        pixel_values = torch.from_numpy(np.ascontiguousarray(pixel_values))  # flipped channels have negative strides
    return pixel_values.float()


def to_images(image_processor: BaseImageProcessor, pixel_values: torch.Tensor) -> list[PIL.Image.Image]:
    """The RGB images of pixel values (B, 3, H, W) as an image processor makes them, rounded to 8 bits."""
    made = like_processor(image_processor)
    mean, std = (pixel_values.new_tensor(made[name]).view(3, 1, 1) for name in ("image_mean", "image_std"))
    pixels = pixel_values.flip(-3) if made["flip_channels"] else pixel_values
    pixels = ((pixels * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return [PIL.Image.fromarray(image) for image in pixels.movedim(1, -1).cpu().numpy()]


class EvalTransform:
    """
    For scoring: pixel values as [`process_image`] makes them, labels untouched.

    Args:
        image_processor (`BaseImageProcessor`):
            The one saved with the model, so that scores and later use see the same pixels.
    """

    def __init__(self, image_processor: BaseImageProcessor):
        self.image_processor = image_processor

    def __call__(
        self, image: tv_tensors.Image, mask: tv_tensors.Mask | None, *view: View
    ) -> tuple[torch.Tensor | None, ...]:
        """(3, h, w) uint8, (h, w) uint8 -> (3, H, W) float32, (h, w) int64; and of a view (h, w) that of (H, W)."""
        labels = None if mask is None else mask.as_subclass(torch.Tensor).long()
        pixel_values = process_image(self.image_processor, image)
        return pixel_values, labels, *[View.whole(*pixel_values.shape[-2:]) for _ in view]
