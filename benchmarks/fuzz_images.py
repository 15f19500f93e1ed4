"""Targets of fuzz.py: files of images and masks, whole and damaged."""

import struct
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from unittest import mock

import numpy as np
import PIL.ExifTags
import PIL.Image
from fuzz_rewards import documented
from hypothesis import strategies as st

from rss_hf.constants import IGNORE_INDEX
from rss_hf.data import images, open_image, voc_palette
from rss_hf.data.rows import open_row


CLASSES = 5
MAX_PIXELS = 200_000  # damaged headers ask for millions, and each takes seconds
MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "TIFF": ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "LAB", "I;16", "I", "F"),
    "WEBP": ("L", "RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "GIF": ("1", "L", "P", "RGB", "RGBA"),
}
COMPRESSIONS = [None, "tiff_lzw", "tiff_deflate", "packbits", "tiff_adobe_deflate"]
NUMBERS_OF_32_BITS = ("I", "F")  # no colours, except as Pillow before 11.3 opens 16-bit PNG files
SIGNATURE = 8  # bytes before the first chunk of a PNG file


@dataclass
class ImageFile:
    """
    A file that Pillow wrote.

    Attributes:
        content (`bytes`): whole, or damaged.
        size (`tuple[int, int]`): (W, H), upright; of a damaged file unknown.
        is_whole (`bool`): whether nothing was done to it.
        mode (`str`): of the pixels.
        pixels (`np.ndarray`): as they are stored, if the file keeps them as they are and they are ids; else None.
    """

    content: bytes
    size: tuple[int, int]
    is_whole: bool
    mode: str
    pixels: np.ndarray | None


def image_files(data: st.DataObject) -> None:
    """A file of any bytes is an upright RGB image, or a ValueError names it."""
    file = data.draw(damaged_or_not())
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(images, "MAX_PIXELS", MAX_PIXELS):
        path = Path(folder, "photo.png")
        path.write_bytes(file.content)
        with documented(str(path), ValueError):
            check_image(open_image(path), file)
            return
        assert not file.is_whole or file.mode in NUMBERS_OF_32_BITS, "a whole file is refused"


def rows_of_files(data: st.DataObject) -> None:
    """A row of any files is an upright RGB image and the ids of its mask, or a ValueError names the row."""
    image = data.draw(damaged_or_not())
    mask = data.draw(damaged_or_not(ids=True, size=data.draw(st.none() | st.just(image.size))))
    palette = data.draw(st.sampled_from([None, voc_palette(CLASSES), [(0, 0, i) for i in range(CLASSES)]]))
    reduce_labels, name = data.draw(st.booleans()), data.draw(st.sampled_from([None, "photo.png", "\0"]))
    row = {key: {"bytes": file.content, "path": name} for key, file in (("image", image), ("mask", mask))}
    with mock.patch.object(images, "MAX_PIXELS", MAX_PIXELS), documented("row 7", ValueError):
        upright, ids = open_row(row, "row 7", palette, CLASSES, reduce_labels)
        check_image(upright, image)
        assert ids.dtype == np.uint8 and ids.shape == (upright.height, upright.width)
        assert ((ids < CLASSES) | (ids == IGNORE_INDEX)).all()
        if mask.is_whole and mask.pixels is not None and not reduce_labels:
            assert np.array_equal(np.sort(ids, axis=None), np.sort(mask.pixels, axis=None))


def check_image(image: PIL.Image.Image, file: ImageFile) -> None:
    """It is RGB and, of a whole file, upright."""
    assert image.mode == "RGB" and np.asarray(image).shape == (image.height, image.width, 3)
    if file.is_whole:
        assert image.size == file.size
    else:
        stored = PIL.Image.open(BytesIO(file.content)).size
        assert image.size in (stored, stored[::-1])


@st.composite
def damaged_or_not(draw: Callable, ids: bool = False, size: tuple[int, int] | None = None) -> ImageFile:
    """A file of any format, whole or with some bytes flipped, cut, moved or put in."""
    file = draw(whole_files(ids, size))
    content = file.content
    for _ in range(draw(st.integers(0, 4))):
        content = draw(st.sampled_from([flip, flip, cut, drop, repeat, splice]))(draw, content)
    if content == file.content:
        return file
    if content.startswith(b"\x89PNG") and draw(st.booleans()):
        content = with_checksums(content)
    return ImageFile(content, file.size, False, file.mode, None)


@st.composite
def whole_files(draw: Callable, ids: bool, size: tuple[int, int] | None) -> ImageFile:
    """Of every format and mode, with every orientation; of ids below `CLASSES` and 255, or of any pixels."""
    file_format = draw(st.sampled_from(list(MODES)))
    mode = draw(st.sampled_from(MODES[file_format]))
    width, height = size or draw(
        st.one_of(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.sampled_from([(1, 1), (300, 1), (2, 101)]))
    )
    tag = draw(st.none() | st.integers(1, 8)) if file_format in ("PNG", "JPEG", "TIFF", "WEBP") else None
    upright = (width, height) if tag is None or tag < 5 else (height, width)
    values = np.random.default_rng(draw(st.integers(0, 9)))
    if ids:
        pixels = values.choice([*range(CLASSES), IGNORE_INDEX], (height, width)).astype(np.uint8)
    else:
        pixels = values.integers(0, 256, (height, width), np.uint8)
    image = in_mode(pixels, mode, draw)
    options = {}
    if tag is not None:
        options["exif"] = draw(exif_data(tag))
    if file_format == "TIFF":
        options["compression"] = draw(st.sampled_from(COMPRESSIONS))
    if file_format == "PNG" and mode in ("1", "L", "P", "I;16"):
        options |= draw(st.sampled_from([{}, {"transparency": 0}]))
    if file_format == "WEBP":
        options["lossless"] = draw(st.booleans())
    if file_format in ("GIF", "WEBP", "TIFF") and draw(st.integers(0, 4)) == 0:
        options |= {"save_all": True, "append_images": [image]}
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    keeps = ids and file_format in ("PNG", "TIFF") and mode in ("L", "P", "I;16", "I")
    return ImageFile(buffer.getvalue(), upright, True, mode, pixels if keeps else None)


def in_mode(pixels: np.ndarray, mode: str, draw: Callable) -> PIL.Image.Image:
    """(H, W) uint8 as an image of a mode, the numbers themselves where it has room for them."""
    if mode == "P":
        image = PIL.Image.fromarray(pixels)
        image.putpalette(np.array(voc_palette(), np.uint8).tobytes())
        return image
    if mode in ("I;16", "I", "F"):
        scale = draw(st.sampled_from([1, 1, 257]))
        return PIL.Image.fromarray(pixels.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]) * scale)
    image = PIL.Image.fromarray(pixels)
    if mode in ("RGB", "RGBA", "CMYK"):
        colours = np.array(voc_palette(), np.uint8)[pixels]
        return PIL.Image.fromarray(colours).convert(mode)
    if mode == "LAB":
        return PIL.Image.frombytes("LAB", image.size, np.repeat(pixels, 3).tobytes())
    return image.convert("P").convert("PA") if mode == "PA" else image.convert(mode)


@st.composite
def exif_data(draw: Callable, tag: int) -> PIL.Image.Exif:
    """EXIF data with the orientation `tag` and, maybe, something else."""
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = tag
    if draw(st.booleans()):
        exif[PIL.ExifTags.Base.ImageDescription] = draw(st.text(max_size=20))
        exif[PIL.ExifTags.Base.XResolution] = draw(st.integers(0, 2**31))
    return exif


def place(draw: Callable, content: bytes) -> int:
    """Where something is done to the bytes: as often in the first hundred, which say most, as anywhere."""
    return draw(st.one_of(st.integers(0, min(len(content), 100)), st.integers(0, len(content))))


def flip(draw: Callable, content: bytes) -> bytes:
    start = place(draw, content)
    new = draw(st.sampled_from([b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\x01"]) | st.binary(min_size=1, max_size=4))
    return content[:start] + new + content[start + len(new) :]


def cut(draw: Callable, content: bytes) -> bytes:
    return content[: place(draw, content)]


def drop(draw: Callable, content: bytes) -> bytes:
    start = place(draw, content)
    return content[:start] + content[start + draw(st.integers(1, 40)) :]


def repeat(draw: Callable, content: bytes) -> bytes:
    start, end = place(draw, content), place(draw, content)
    return content[:end] + content[start:]


def splice(draw: Callable, content: bytes) -> bytes:
    """Ends as another file does."""
    other = draw(whole_files(False, None)).content
    return content[: place(draw, content)] + other[place(draw, other) :]


def with_checksums(content: bytes) -> bytes:
    """A PNG file whose chunks have the checksums of what is in them now, so that they are read."""
    parts, start = [content[:SIGNATURE]], SIGNATURE
    while start + 12 <= len(content):
        (length,) = struct.unpack(">I", content[start : start + 4])
        end = start + 8 + length
        if end + 4 > len(content):
            break
        parts += [content[start:end], struct.pack(">I", zlib.crc32(content[start + 4 : end]))]
        start = end + 4
    return b"".join([*parts, content[start:]])
