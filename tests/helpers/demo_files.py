"""Files that people and attackers upload, each with the image to be seen or the sentence to be said."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


RGB = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
ALPHA = np.tile(np.array([0, 255], np.uint8), (24, 16))
GREY = RGB[..., 0]
PHOTO = Image.fromarray(RGB)
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
DAMAGED, MANY, LONG = "is damaged or incomplete", "pixels, .* million are accepted", "times as long as the other"
PAGES, TEXT = "is animated or has several pages", "is a text file"


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, depth: int, colours: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file from its parts; `rows` is not compressed yet, and may be too short."""
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def over_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.where(alpha[..., None] == 0, 255, rgb).astype(np.uint8)


def turned(tag: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = tag
    return exif


def is_seen(pixels: np.ndarray, expected: np.ndarray, name: str) -> bool:
    """Whether the pixels are those expected; CMYK in JPEG comes near them only."""
    if pixels.shape != expected.shape:
        return False
    return np.abs(pixels.astype(int) - expected).mean() <= (2 if name == "cmyk.jpg" else 0)


def odd_files() -> dict[str, tuple[bytes, np.ndarray]]:
    """By name: the content of a file, and the (H, W, 3) uint8 pixels to be seen."""
    jpeg, grey16 = encoded(PHOTO, "JPEG", quality=95), GREY.astype(np.uint16) * 257
    rgb16 = (RGB.astype(np.uint16) * 256 + 7).astype(">u2")
    palette = PHOTO.quantize(16)
    shown = np.asarray(palette.convert("RGB"))
    cmyk = PHOTO.convert("CMYK")
    three = np.repeat(GREY[..., None], 3, axis=2)
    see_through = np.where(np.asarray(palette)[..., None] == 3, 255, shown).astype(np.uint8)
    rgba = np.dstack([RGB, ALPHA])
    strip = np.tile(RGB[:2, :5], (1, 20, 1))
    return {
        "plain.png": (encoded(PHOTO, "PNG"), RGB),
        "grey.png": (encoded(Image.fromarray(GREY), "PNG"), three),
        "bits.png": (encoded(Image.fromarray(GREY > 99), "PNG"), np.where(three > 99, 255, 0).astype(np.uint8)),
        "palette.png": (encoded(palette, "PNG"), shown),
        "palette-transparent.png": (encoded(palette, "PNG", transparency=3), see_through),
        "rgba.png": (encoded(Image.fromarray(rgba), "PNG"), over_white(RGB, ALPHA)),
        "grey-alpha.png": (
            encoded(Image.fromarray(np.dstack([GREY, ALPHA])), "PNG"),
            over_white(three, ALPHA),
        ),
        "grey16.png": (encoded(Image.fromarray(grey16), "PNG"), three),
        "grey16.tif": (encoded(Image.fromarray(grey16.astype(">u2")), "TIFF"), three),
        "rgb16.png": (png(32, 24, 16, 2, b"".join(b"\0" + row.tobytes() for row in rgb16)), RGB),
        "cmyk.jpg": (encoded(cmyk, "JPEG", quality=100), RGB),  # stored inverted, as Adobe does
        "cmyk.tif": (encoded(cmyk, "TIFF"), np.asarray(cmyk.convert("RGB"))),
        "side.jpg": (encoded(PHOTO, "JPEG", quality=95, exif=turned(6)), np.rot90(decoded(jpeg), -1)),
        "mirrored.png": (encoded(PHOTO, "PNG", exif=turned(2)), RGB[:, ::-1]),
        "telephone.jpg": (encoded(PHOTO, "MPO", save_all=True, append_images=[PHOTO], quality=95), decoded(jpeg)),
        "still.gif": (encoded(palette, "GIF"), shown),
        "lossless.webp": (encoded(PHOTO, "WEBP", lossless=True), RGB),
        "drawing.bmp": (encoded(PHOTO, "BMP"), RGB),
        "plain.ppm": (encoded(PHOTO, "PPM"), RGB),
        "a-jpeg.png": (jpeg, decoded(jpeg)),
        "n\u00e4me (1) <b>..png": (encoded(PHOTO, "PNG"), RGB),
        "pixel.png": (encoded(Image.fromarray(RGB[:1, :1]), "PNG"), RGB[:1, :1]),
        "strip.png": (encoded(Image.fromarray(strip), "PNG"), strip),
    }


def decoded(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)))


def hostile_files() -> dict[str, tuple[bytes, str]]:
    """By name: the content of a file, and a pattern of the sentence that refuses it."""
    plain, other = encoded(PHOTO, "PNG"), Image.fromarray(RGB[::-1].copy())
    jpeg, frames = encoded(PHOTO, "JPEG"), {"save_all": True, "append_images": [other]}
    bomb = zlib.compress(bytes(200 * 2**20))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("photo.png", plain)
    return {
        "moving.gif": (encoded(PHOTO, "GIF", **frames), PAGES),
        "moving.png": (encoded(PHOTO, "PNG", **frames), PAGES),
        "moving.webp": (encoded(PHOTO, "WEBP", **frames), PAGES),
        "pages.tif": (encoded(PHOTO, "TIFF", **frames), PAGES),
        "drawing.svg": (SVG, "is a vector drawing"),
        "svg.png": (SVG, "is a vector drawing"),
        "text.png": (b"This is not an image.\n" * 9, TEXT),
        "page.jpg": (b"<!doctype html><script>alert(1)</script>", TEXT),
        "empty.png": (b"", "is an empty file"),
        "cut.jpg": (jpeg[:-300], DAMAGED),
        "cut.png": (plain[: len(plain) // 2], DAMAGED),
        "header.png": (plain[:20] + b"\xff" + plain[21:], "is a damaged PNG file"),
        "short.png": (png(32, 24, 8, 2, bytes(9)), DAMAGED),
        "vast.png": (png(50_000, 50_000, 8, 2, b""), "far too many pixels"),
        "zeros.png": (png(8000, 8000, 1, 0, bytes(1001 * 8000)), MANY),
        "vast.gif": (encoded(PHOTO, "GIF")[:6] + struct.pack("<HH", 9000, 9000) + encoded(PHOTO, "GIF")[10:], MANY),
        "long.png": (png(100_000, 1, 8, 0, bytes(100_001)), LONG),
        "profile.png": (png(32, 24, 8, 2, b"", (b"iCCP", b"p\0\0" + bomb)), "is damaged"),
        "comment.png": (png(32, 24, 8, 2, b"", (b"zTXt", b"c\0\0" + bomb)), "is damaged"),
        "exif.png": (png(32, 24, 8, 2, bytes(97 * 24), (b"eXIf", b"garbage")), DAMAGED),
        "float.tif": (encoded(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "whose colours are not known"),
        "32-bit.tif": (encoded(Image.fromarray(GREY.astype(np.int32)), "TIFF"), "whose colours are not known"),
        "paper.png": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "is a PDF document"),
        "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "is a HEIC or AVIF picture"),
        "archive.jpg": (archive.getvalue(), "is an archive"),
        "noise.png": (RGB.tobytes(), "is of a type that cannot be read"),
        "large.png": (plain + bytes(20 * 2**20), "has more than 20 MiB"),
    }


def write_all(folder: Path) -> list[tuple[Path, np.ndarray | str]]:
    """All of them in `folder`, each with what is expected of it."""
    expected = []
    for name, (content, answer) in (odd_files() | hostile_files()).items():
        (folder / name).write_bytes(content)
        expected.append((folder / name, answer))
    return expected
