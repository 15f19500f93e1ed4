"""Uploaded images, read within bounds: of a known type, not too large, whole, and a single picture."""

import struct
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ..data import to_upright_rgb


MAX_BYTES = 20 * 2**20
MAX_PIXELS = 16_000_000
MAX_WHOLE = 2**53  # to which numbers of JSON are exact
MAX_ELONGATION = 50  # the longer side over the shorter
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, OverflowError, struct.error)
# How the files begin that cannot be read, and what they are.
DAMAGED = {b"\x89PNG": "PNG", b"\xff\xd8": "JPEG", b"GIF8": "GIF", b"RIFF": "WebP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
OTHERS = {b"%PDF": "a PDF document", b"%!PS": "a PostScript drawing", b"PK\x03\x04": "an archive"}


class Refusal(ValueError):
    """What was asked for cannot be done; the message says why, in a sentence that may be shown to anyone."""


def whole(value: object, name: str) -> int:
    """A number of a request, or `Refusal` where it is none, has a fraction or is larger than any that is meant."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise Refusal(f"The {name} must be a whole number.")
    if abs(value) > MAX_WHOLE:
        raise Refusal(f"The {name} must be a whole number of at most {MAX_WHOLE}.")
    return int(value)


def yes_or_no(value: object, name: str) -> bool:
    """A switch of a request, or `Refusal` where it is none."""
    if not isinstance(value, bool):
        raise Refusal(f'The switch "{name}" must be true or false.')
    return value


def open_photo(path: str, what: str = "The image") -> Image.Image:
    """
    The image of a file as it is meant to be seen, of mode RGB: [`open_picture`], then [`upright`].

    Raises:
        Refusal: see these.
    """
    return upright(open_picture(path, what), what)


def upright(picture: Image.Image, what: str = "The image") -> Image.Image:
    """
    A decoded picture as it is meant to be seen, of mode RGB (see [`~rss_hf.data.to_upright_rgb`]).

    Raises:
        Refusal: if the colours of its mode are not known.
    """
    try:
        return to_upright_rgb(picture)
    except ValueError as error:
        raise Refusal(
            f"{what} has pixels of mode {picture.mode}, whose colours are not known. Save it as PNG or JPEG with "
            "8 bits a channel."
        ) from error


def open_picture(path: str, what: str) -> Image.Image:
    """
    The single picture of a file, decoded, in the mode and orientation it is stored in.

    Args:
        path (`str`): a file that was uploaded; only its content says what it is.
        what (`str`): how errors call it.

    Raises:
        Refusal: if the file is empty, too large, of another type, animated, damaged, or has too many pixels.
    """
    try:
        if Path(path).stat().st_size > MAX_BYTES:
            raise Refusal(f"{what} has more than {MAX_BYTES >> 20} MiB, the most that is accepted.")
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise Refusal(f"{what} is no longer here. Upload it again.") from error
    try:
        image = Image.open(BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise Refusal(f"{what} {complaint(content[:1024])}") from error
    except Image.DecompressionBombError as error:
        raise Refusal(f"{what} has far too many pixels; up to {MAX_PIXELS // 10**6} million are accepted.") from error
    except DECODER_ERRORS as error:
        raise Refusal(f"{what} is damaged: its file cannot be read. Save it again.") from error
    try:
        check_picture(image, what)
        image.load()
        image.getexif()  # else its errors come where the image is turned
    except Refusal:
        raise
    except DECODER_ERRORS as error:
        raise Refusal(f"{what} is damaged or incomplete: it cannot be decoded. Save it again.") from error
    return image


def check_picture(image: Image.Image, what: str):
    """Refuses an opened image, none of whose pixels are decoded yet, for its size or its number of pictures."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Refusal(
            f"{what} has {width} x {height} pixels, {width * height / 1e6:.1f} million; up to "
            f"{MAX_PIXELS // 10**6} million are accepted. Make it smaller."
        )
    if max(width, height) > MAX_ELONGATION * min(width, height):
        raise Refusal(
            f"{what} has {width} x {height} pixels; one side may be up to {MAX_ELONGATION} times as long as the other."
        )
    # A MPO is a telephone's photo: a JPEG file with another view, or a preview, behind the picture.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise Refusal(f"{what} is animated or has several pages. Save one of them as PNG or JPEG.")


def complaint(head: bytes) -> str:
    """What is wrong with a file that is no image, from its first bytes: the rest of a sentence."""
    if not head:
        return "is an empty file."
    for start, name in DAMAGED.items():
        if head.startswith(start):
            return f"is a damaged {name} file. Save it again."
    if head[4:8] == b"ftyp":
        return "is a HEIC or AVIF picture, or a film. Save it as JPEG or PNG."
    for start, name in OTHERS.items():
        if head.startswith(start):
            return f"is {name}, not an image. Save it as PNG or JPEG."
    if b"<svg" in head.lower():
        return "is a vector drawing (SVG). Save it as PNG."
    if is_text(head):
        return "is a text file, whatever its name says."
    return "is of a type that cannot be read. Save it as PNG, JPEG or WebP."


def is_text(head: bytes) -> bool:
    """Whether the first bytes of a file are printable text in UTF-8; the last character may be cut."""
    text = head.decode("utf-8", errors="ignore")
    return len(text.encode()) >= len(head) - 3 and all(c.isprintable() or c.isspace() for c in text)
