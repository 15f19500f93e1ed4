"""Small images and masks, and data sets of them, for the tests of reading and checking."""

from io import BytesIO

import datasets
import numpy as np
import PIL.ExifTags
import PIL.Image

from rss_hf.data import IGNORE_INDEX, voc_palette


# What each EXIF orientation asks to be done to the stored pixels (h, w, ...).
TURNS = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}


def picture(seed=0, size=(8, 6)):
    width, height = size
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def ids(values=(0, 1, 2, IGNORE_INDEX), size=(8, 6)):
    width, height = size
    return np.resize(np.array(values, np.uint8), (height, width))


def p_mode(indices):
    mask = PIL.Image.fromarray(indices)
    mask.putpalette(np.array(voc_palette(), np.uint8).tobytes())
    return mask


def orientation(tag):
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = tag
    return exif


def encoded(image, file_format="PNG", path=None, **options):
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return {"bytes": buffer.getvalue(), "path": path}


def rows(masks=None, images=None, image_column="image", mask_column="mask", **others):
    images = images or [picture(i) for i in range(len(masks))]
    features, columns = {image_column: datasets.Image()}, {image_column: images}
    if masks is not None:
        features[mask_column] = datasets.Image()
        columns[mask_column] = [p_mode(mask) if isinstance(mask, np.ndarray) else mask for mask in masks]
    features |= {name: datasets.Value("string") for name in others}
    return datasets.Dataset.from_dict(columns | others, features=datasets.Features(features))


def save_parquet(folder, **splits):
    (folder / "data").mkdir(parents=True)
    for split, dataset in splits.items():
        dataset.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return str(folder)
