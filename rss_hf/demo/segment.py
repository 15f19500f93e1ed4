"""Segmenting one image: the mask that `rss-hf predict` writes, its entropy and the areas of its classes."""

import math
import threading
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ..data import process_image, voc_palette
from ..evaluation.predict import predict_maps_and_entropies
from .images import Refusal, whole
from .models import Loaded


PALETTE = voc_palette()
MAX_PROBABILITIES = 260_000_000  # classes times pixels of an image and its mirror image: 1 GB in float32
MIN_WINDOW = 32  # pixels
MAX_WINDOWS = 256

# One model at work at a time: memory is that of one image, and CPU threads do not compete.
computing = threading.Lock()


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
        Refusal: if the window is no whole number, or it would take too much memory or time.
    """
    window, num_classes = whole(window, "window"), len(loaded.class_names)
    limit = MAX_PROBABILITIES // (num_classes * (1 + flip))
    if image.width * image.height > limit:
        raise Refusal(
            f"The image has {image.width * image.height / 1e6:.1f} million pixels; with {num_classes} classes"
            f"{' and the mirror image' if flip else ''} up to {limit / 1e6:.1f} million are accepted. Make it smaller."
        )
    with computing:
        pixel_values = model_input(loaded, image)
        check_window(window, tuple(pixel_values.shape[-2:]))
        size = (image.height, image.width)
        [(mask, entropy)] = predict_maps_and_entropies(
            loaded.model, pixel_values, [size], window=(window, window) if window else None, flip=flip
        )
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


def check_window(window: int, size: tuple[int, int]):
    """Refuses windows too small or too many for an input of `size` = (h, w) pixels; 0 is no window."""
    if window == 0:
        return
    if window < MIN_WINDOW:
        raise Refusal(f"The window is {window} pixels wide: give {MIN_WINDOW} or more, or 0 for none.")
    windows = math.prod(math.ceil(max(side - window, 0) / (window // 2)) + 1 for side in size)
    if windows > MAX_WINDOWS:
        raise Refusal(
            f"A window of {window} pixels takes {windows} places in the model's input of {size[1]} x {size[0]}; "
            f"up to {MAX_WINDOWS} are accepted. Give a larger one."
        )
