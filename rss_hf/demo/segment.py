"""Segmenting one image: the mask that `rss-hf predict` writes, its entropy and the areas of its classes."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ..data import process_image, voc_palette
from ..evaluation.predict import predict_maps_and_entropies
from .images import Refusal, whole, yes_or_no
from .models import Loaded
from .work import turns


PALETTE = voc_palette()
MAX_PROBABILITIES = 260_000_000  # classes times pixels of an image and its mirror image: 1 GB in float32
MIN_WINDOW = 32  # pixels
MAX_WINDOWS = 256
NOT_FINITE = "The model's answer for this image is not finite: its weights are damaged."


@dataclass(frozen=True)
class Segmentation:
    """
    Attributes:
        mask (`np.ndarray` of shape `(H, W)`): uint8, the class of each pixel.
        entropy (`np.ndarray` of shape `(H, W)`): float32, of each pixel's class probabilities, in nats.
        areas (`list[dict]`): of each class that occurs, the largest first: `class_id`, `name`, `pixels`, `fraction`.
    """

    mask: np.ndarray
    entropy: np.ndarray
    areas: list[dict]


def segment(loaded: Loaded, image: Image.Image, window: int = 0, flip: bool = False) -> Segmentation:
    """
    Segments an image at its own size.

    Args:
        loaded ([`Loaded`]): the model.
        image (`PIL.Image.Image`): of mode RGB.
        window (`int`, *optional*, defaults to 0):
            Side, in pixels of the model's input, of the square window that is slid over it by half steps; 0: none.
        flip (`bool`, *optional*, defaults to `False`): whether to average over the image and its mirror image.

    Raises:
        Refusal: if the window is no whole number, it would take too much memory or time, or it did take too long.
    """
    window, flip = whole(window, "window"), yes_or_no(flip, "average with the mirror image")
    num_classes = len(loaded.class_names)
    limit = MAX_PROBABILITIES // (num_classes * (1 + flip))
    if image.width * image.height > limit:
        raise Refusal(
            f"The image has {image.width * image.height / 1e6:.1f} million pixels; with {num_classes} classes"
            f"{' and the mirror image' if flip else ''} up to {limit / 1e6:.1f} million are accepted. Make it smaller."
        )
    height, width = loaded.dry_run.input_size(*image.size)
    windows = count_windows(window, (height, width))
    seen = (min(window, height), min(window, width)) if window else (height, width)
    loaded.dry_run.check(seen, passes=windows * (1 + flip))
    if windows > 1 and num_classes * (1 + flip) * height * width > MAX_PROBABILITIES:
        raise Refusal(
            f"The model's input of {width} x {height} pixels is too large for windows with {num_classes} classes. "
            "Give 0 for none, or a smaller image."
        )
    with turns.compute():
        pixel_values = model_input(loaded, image)
        size = (image.height, image.width)
        try:
            [(mask, entropy)] = predict_maps_and_entropies(
                loaded.model, pixel_values, [size], window=(window, window) if window else None, flip=flip
            )
        except Refusal:
            raise
        except ValueError as error:  # of logits alone, since the sizes and windows are checked
            raise Refusal(NOT_FINITE) from error
        mask, entropy = mask.to("cpu", torch.uint8).numpy(), entropy.cpu().numpy()
    pixels = np.bincount(mask.ravel(), minlength=num_classes)
    areas = [
        {
            "class_id": int(i),
            "name": loaded.class_names[i],
            "pixels": int(pixels[i]),
            "fraction": pixels[i] / mask.size,
        }
        for i in np.argsort(-pixels, kind="stable")
        if pixels[i]
    ]
    return Segmentation(mask, entropy, areas)


def model_input(loaded: Loaded, image: Image.Image) -> torch.Tensor:
    """The processed image (1, 3, h, w), on the device of the model."""
    return process_image(loaded.processor, image)[None].to(loaded.model.device)


def count_windows(window: int, size: tuple[int, int]) -> int:
    """How many windows cover an input of `size` = (h, w) pixels. Refuses such that are too small or too many."""
    if window == 0:
        return 1
    if window < MIN_WINDOW:
        raise Refusal(f"The window is {window} pixels wide: give {MIN_WINDOW} or more, or 0 for none.")
    windows = math.prod(-(-max(side - window, 0) // (window // 2)) + 1 for side in size)
    if windows > MAX_WINDOWS:
        raise Refusal(
            f"A window of {window} pixels takes {windows} places in the model's input of {size[1]} x {size[0]}; "
            f"up to {MAX_WINDOWS} are accepted. Give a larger one."
        )
    return windows
