"""The built-in data set: overlapping textured shapes, drawn on the spot. A class is a form and the hue it favours."""

import colorsys
from io import BytesIO

import datasets
import numpy as np
import PIL.Image
import PIL.ImageDraw

from ..constants import IGNORE_INDEX
from .masks import VOC_PALETTE


SHAPE_DATASETS = {"shapes": {"size": 64, "num_classes": 5}, "shapes-hard": {"size": 128, "num_classes": 12}}
NUM_OBJECTS = (2, 6)
RADIUS = (0.12, 0.28)  # of the image's side
PALETTE_BYTES = np.array(VOC_PALETTE, np.uint8).tobytes()
COLOUR_SPREAD = 30  # standard deviation of a class's colour, of 255 and for each channel
OVERSAMPLING = 4  # outlines are drawn this much larger and averaged down, so that edges in the image are smooth


def _arc(start: float, stop: float, radius: float = 1.0) -> np.ndarray:
    return radius * np.exp(1j * np.pi * np.linspace(start, stop, 25))


# Outlines within the unit circle, as complex numbers x + iy, which one product turns and scales; drawn clockwise or
# anti-clockwise and filled by the even-odd rule. One a class, from class 1 on; class 0 is the background.
OUTLINES = {
    "circle": _arc(0, 2, 0.85),
    "square": _arc(0, 2)[3:24:6],
    "triangle": _arc(0, 2)[0:24:8],
    "cross": np.concatenate([1j**turn * np.array([1 - 0.32j, 1 + 0.32j, 0.32 + 0.32j]) for turn in range(4)]),
    "star": np.exp(0.2j * np.pi * np.arange(10)) * np.tile([1, 0.42], 5),
    "ring": np.concatenate([_arc(0, 2, 0.95), _arc(2, 0, 0.5)]),
    "bar": np.array([1 + 0.25j, -1 + 0.25j, -1 - 0.25j, 1 - 0.25j]),
    "half disc": _arc(0, 1) - 0.4j,
    "arrow": np.array([1, 0.1 + 0.75j, 0.1 + 0.28j, -0.9 + 0.28j, -0.9 - 0.28j, 0.1 - 0.28j, 0.1 - 0.75j]),
    "corner": np.array([-0.7 - 0.7j, 0.8 - 0.7j, 0.8 - 0.15j, -0.15 - 0.15j, -0.15 + 0.8j, -0.7 + 0.8j]),
    "crescent": np.concatenate([_arc(0.25, 1.75), 0.75 * _arc(1.75, 0.25) + 0.3]),
}
SHAPE_NAMES = ["background", *OUTLINES]


def load_shapes(
    size: int = 64, num_classes: int = 5, num_train: int = 2000, num_validation: int = 256, seed: int = 0
) -> datasets.DatasetDict:
    """
    Draws the data set: 2 to 6 turned, textured shapes an image, one over the other, on a textured background.

    Args:
        size (`int`, *optional*, defaults to 64):
            Height and width in pixels, 32 or more.
        num_classes (`int`, *optional*, defaults to 5):
            2 to 12: the background and the first shapes of `SHAPE_NAMES`.
        num_train (`int`, *optional*, defaults to 2000):
            Images in the split `train`.
        num_validation (`int`, *optional*, defaults to 256):
            Images in the split `validation`.
        seed (`int`, *optional*, defaults to 0):
            An image depends on (`seed`, split, index, `size`, `num_classes`) alone: a larger set begins with a
            smaller one.

    Returns:
        `datasets.DatasetDict`: `train` and `validation` with columns `image` (RGB) and `mask` (mode P: class ids, and
        255 on a line of one pixel around each shape).

    Raises:
        `ValueError`: `size` or `num_classes` out of range.
    """
    if not 2 <= num_classes <= len(SHAPE_NAMES):
        raise ValueError(f"num_classes must be 2 to {len(SHAPE_NAMES)} ({', '.join(SHAPE_NAMES)}), got {num_classes}.")
    if size < 32:
        raise ValueError(f"size must be at least 32 pixels for the shapes to differ, got {size}.")
    features = datasets.Features(image=datasets.Image(), mask=datasets.Image())
    splits = datasets.DatasetDict()
    for number, (split, length) in enumerate({"train": num_train, "validation": num_validation}.items()):
        drawn = [draw_example(np.random.default_rng([seed, number, i]), size, num_classes) for i in range(length)]
        columns = {"image": [_png(image) for image, _ in drawn], "mask": [_png(mask) for _, mask in drawn]}
        splits[split] = datasets.Dataset.from_dict(columns, features=features)
    return splits


def draw_example(rng: np.random.Generator, size: int, num_classes: int) -> tuple[PIL.Image.Image, PIL.Image.Image]:
    """One image (RGB) and its mask (mode P, ids 0 to `num_classes - 1` and 255), both `size` x `size` pixels."""
    image = _texture(rng, size, size, rng.uniform(20, 235, 3))
    labels = np.zeros((size, size), np.uint8)
    for _ in range(rng.integers(NUM_OBJECTS[0], NUM_OBJECTS[1] + 1)):
        label = int(rng.integers(1, num_classes))
        center = size * complex(*rng.uniform(0.05, 0.95, 2))
        turned_radius = size * rng.uniform(*RADIUS) * np.exp(2j * np.pi * rng.random())
        patch, coverage = _fill(center + turned_radius * OUTLINES[SHAPE_NAMES[label]], size)
        texture = _texture(rng, *coverage.shape, _favoured_colour(rng, label, num_classes))
        image[patch] += coverage[..., None] * (texture - image[patch])
        inside = coverage >= 0.5
        labels[patch][_grow(inside)] = IGNORE_INDEX
        labels[patch][inside] = label
    image += rng.uniform(2, 16) * rng.standard_normal(image.shape, np.float32)
    mask = PIL.Image.fromarray(labels)
    mask.putpalette(PALETTE_BYTES)  # turns mode L into P
    return PIL.Image.fromarray(image.clip(0, 255).astype(np.uint8)), mask


def _fill(outline: np.ndarray, size: int) -> tuple[tuple[slice, slice], np.ndarray]:
    """The part of the image around an outline given in pixels, and the share of each pixel there that it covers."""
    left, top = (max(0, int(side.min()) - 2) for side in (outline.real, outline.imag))
    right, bottom = (min(size, int(side.max()) + 3) for side in (outline.real, outline.imag))
    canvas = PIL.Image.new("L", (OVERSAMPLING * (right - left), OVERSAMPLING * (bottom - top)))
    points = OVERSAMPLING * (outline - complex(left, top))
    PIL.ImageDraw.Draw(canvas).polygon(points.astype(np.complex64).view(np.float32).tolist(), fill=255)
    return np.s_[top:bottom, left:right], np.asarray(canvas.reduce(OVERSAMPLING), np.float32) / 255


def _grow(inside: np.ndarray) -> np.ndarray:
    """The pixels of a boolean array and their eight neighbours."""
    grown = inside.copy()
    grown[1:] |= inside[:-1]
    grown[:-1] |= inside[1:]
    columns = grown.copy()
    grown[:, 1:] |= columns[:, :-1]
    grown[:, :-1] |= columns[:, 1:]
    return grown


def _favoured_colour(rng: np.random.Generator, label: int, num_classes: int) -> np.ndarray:
    """A colour (3,) near the hue of a class, so widely spread that neighbouring hues overlap."""
    hue = (label - 1) / (num_classes - 1)
    return 255 * np.array(colorsys.hsv_to_rgb(hue, 0.6, 0.7)) + rng.normal(0, COLOUR_SPREAD, 3)


def _texture(rng: np.random.Generator, height: int, width: int, colour: np.ndarray) -> np.ndarray:
    """A colour (3,) and another near it, mixed evenly, in blobs, stripes or checks: (height, width, 3) float32."""
    first = colour.astype(np.float32)
    second = first + rng.normal(0, 50, 3).astype(np.float32)
    kind = rng.integers(4)
    if kind == 0:
        mix = np.full((height, width), rng.random(), np.float32)
    elif kind == 1:
        noise = PIL.Image.fromarray(rng.random((8, 8), np.float32))
        mix = np.asarray(noise.resize((width, height), PIL.Image.Resampling.BICUBIC))
    else:
        step = np.pi / rng.uniform(2, 6) * np.exp(2j * np.pi * rng.random())
        y, x = np.ogrid[:height, :width]
        wave = np.sin((step.real * x + step.imag * y).astype(np.float32))
        if kind == 3:
            wave *= np.sin((step.imag * x - step.real * y).astype(np.float32))
        mix = 0.5 + 0.5 * wave
    return first + mix[..., None] * (second - first)


def _png(image: PIL.Image.Image) -> dict[str, bytes | None]:
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return {"bytes": buffer.getvalue(), "path": None}
