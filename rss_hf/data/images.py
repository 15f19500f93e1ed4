"""Image files as pixels. Training, evaluation, prediction and the demo all decode by [`to_upright_rgb`]."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import IO

import numpy as np
import PIL.Image
import PIL.ImageOps


IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
MAX_PIXELS = 80_000_000  # a training step holds an image as float32, 12 bytes a pixel, several times a worker
# What Pillow raises for damaged files, beside OSError and ValueError.
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
)
TOO_LARGE = f"Up to {MAX_PIXELS // 10**6} million pixels are read; cut the image into tiles or make it smaller"
MAX_ELONGATION = 50  # the longer side over the shorter: beyond it little is left of the shorter one after scaling


def open_image(path: str | PathLike) -> PIL.Image.Image:
    """
    The image of a file, upright and of mode RGB (see [`to_upright_rgb`]).

    Raises:
        `ValueError`: a file that cannot be read as an image, too many pixels, or 32-bit pixels.
    """
    with named_errors(str(path), "read as an image"), open_within_bounds(path) as image:
        return to_upright_rgb(image)


def open_within_bounds(source: str | PathLike | IO[bytes]) -> PIL.Image.Image:
    """`PIL.Image.open`; none of the pixels are decoded. Raises `ValueError` above `MAX_PIXELS`."""
    with warnings.catch_warnings():
        # Pillow's own bounds are a warning below ours and an error without the size above.
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        try:
            image = PIL.Image.open(source)
        except PIL.Image.DecompressionBombError as error:
            raise ValueError(f"it is too large; {error}. {TOO_LARGE}") from error
    image.filename = ""  # else Pillow maps plain TIFF files into memory, and mixes up those that EXIF turns
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(
            f"it has {image.width}x{image.height} pixels, {image.width * image.height / 1e6:.0f} million. {TOO_LARGE}"
        )
    return image


def refuse_elongated(size: tuple[int, int]) -> None:
    """Raises `ValueError` where one side of (width, height) is more than `MAX_ELONGATION` times the other."""
    if max(size) > MAX_ELONGATION * min(size):
        raise ValueError(
            f"it has {size[0]}x{size[1]} pixels, and one side may be up to {MAX_ELONGATION} times the other; cut it "
            "into pieces"
        )


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


@contextmanager
def named_errors(what: str, action: str) -> Iterator[None]:
    """Errors of a damaged or unsuitable file as a `ValueError` that names it: "`what` cannot be `action`: ..."."""
    try:
        yield
    except DECODER_ERRORS as error:
        raise ValueError(f"{what} cannot be {action}: {error}. Replace or remove the file.") from error
