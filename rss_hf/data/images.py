"""Images as they are meant to be seen: upright, 8 bits a channel, nothing transparent, RGB."""

from os import PathLike

import numpy as np
from PIL import Image, ImageOps


def open_image(path: str | PathLike) -> Image.Image:
    """
    The image of a file as it is meant to be seen (see [`as_seen`]).

    Raises:
        ValueError: if the file cannot be read as an image, or its range is not known.
    """
    try:
        with Image.open(path) as image:
            return as_seen(image)
    except (OSError, SyntaxError, ValueError) as error:  # Pillow calls some damaged files a SyntaxError
        raise ValueError(f"{path} cannot be read as an image: {error}. Replace or remove the file.") from error


def as_seen(image: Image.Image) -> Image.Image:
    """
    Turned as its EXIF tag says, 16-bit grey scaled to 8 bits over its full range, transparent pixels over white.

    Args:
        image (`PIL.Image.Image`): of any mode, opened or made.

    Returns:
        `PIL.Image.Image`: of mode RGB.

    Raises:
        ValueError: if the pixels are 32-bit numbers, whose range is not known, or of a mode that is not RGB's kind.
    """
    # Pillow before 11.3 opens a 16-bit grey PNG in mode I, whose pixels are 32-bit numbers elsewhere.
    is_16_bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    image = ImageOps.exif_transpose(image)
    if is_16_bit:
        image = Image.fromarray((np.asarray(image, np.float32) / 257).round().astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"its mode is {image.mode!r}, whose range is not known; save it with 8 or 16 bits a channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
