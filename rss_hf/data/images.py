"""Image files as pixels. Training, evaluation, prediction and the demo all decode by [`to_upright_rgb`]."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps


IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


def open_image(path: str | PathLike) -> PIL.Image.Image:
    """
    The image of a file, upright and of mode RGB (see [`to_upright_rgb`]).

    Raises:
        `ValueError`: a file that cannot be read as an image, or 32-bit pixels.
    """
    with named_errors(str(path), "read as an image"), PIL.Image.open(path) as image:
        return to_upright_rgb(image)


def to_upright_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """
    Turns an image as its EXIF tag says, scales 16-bit grey to 8 bits and lays transparent pixels over white.

    Args:
        image (`PIL.Image.Image`):
            Of any mode, opened or made.

    Returns:
        `PIL.Image.Image`: of mode RGB, 8 bits a channel.

    Raises:
        `ValueError`: 32-bit pixels, whose range is not known, or a mode that cannot be converted to RGB.
    """
    refuse_32_bit(image)
    is_16_bit = image.mode[0] == "I"
    image = PIL.ImageOps.exif_transpose(image)
    if is_16_bit:
        values = np.asarray(image)
        grey = (values.astype(np.float32) / 257).round().astype(np.uint8)
        if "transparency" in image.info:
            grey[values == image.info["transparency"]] = 255
        image = PIL.Image.fromarray(grey)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def refuse_32_bit(image: PIL.Image.Image) -> None:
    """Raises `ValueError` for pixels that are 32-bit numbers; reads the header of the file only."""
    # Pillow before 11.3 opens a 16-bit grey PNG in mode I, which stands for 32 bits elsewhere.
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise ValueError(f"its mode is {image.mode!r}, whose range is not known; save it with 8 or 16 bits a channel")


def upright_size(image: PIL.Image.Image) -> tuple[int, int]:
    """(width, height) of an image after it is turned as its EXIF tag says."""
    turned = image.getexif().get(PIL.ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    return image.size[::-1] if turned else image.size


@contextmanager
def named_errors(what: str, action: str) -> Iterator[None]:
    """Errors of a damaged or unsuitable file as a `ValueError` that names it: "`what` cannot be `action`: ..."."""
    try:
        yield
    except (OSError, SyntaxError, ValueError) as error:  # Pillow calls some damaged files a SyntaxError
        raise ValueError(f"{what} cannot be {action}: {error}. Replace or remove the file.") from error
