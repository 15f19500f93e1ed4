"""Small images and masks, and data sets of them, for the tests of reading and checking."""

import datasets
import numpy as np
import PIL.Image

from rss_hf.data.masks import VOID, voc_palette


def picture(seed=0, size=(8, 6)):
    width, height = size
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def ids(values=(0, 1, 2, VOID), size=(8, 6)):
    width, height = size
    return np.resize(np.array(values, np.uint8), (height, width))


def p_mode(indices):
    mask = PIL.Image.fromarray(indices)
    mask.putpalette(np.array(voc_palette(), np.uint8).tobytes())
    return mask


def rows(masks, images=None, image_column="image", mask_column="mask", **others):
    images = images or [picture(i) for i in range(len(masks))]
    masks = [p_mode(mask) if isinstance(mask, np.ndarray) else mask for mask in masks]
    features = {image_column: datasets.Image(), mask_column: datasets.Image()}
    features |= {name: datasets.Value("string") for name in others}
    columns = {image_column: images, mask_column: masks, **others}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))
