"""The drawn shapes without masks to train on, but with what is known of whole images: which classes, and how much."""

from pathlib import Path

import numpy as np

from rss_hf.constants import IGNORE_INDEX
from rss_hf.data.shapes import SHAPE_DATASETS, SHAPE_NAMES, load_shapes


CLASS_NAMES = SHAPE_NAMES[: SHAPE_DATASETS["shapes"]["num_classes"]]


def make_weak_data(folder: Path) -> Path:
    """Writes the splits with columns `class_tags` and `class_areas`; the masks of validation are kept, to score by."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in load_shapes().items():
        rows = rows.map(tags_and_areas)
        if split == "train":
            rows = rows.map(lambda row: {"mask": None}, features=rows.features)
        rows.to_parquet(folder / f"{split}.parquet")
    return folder


def tags_and_areas(row: dict) -> dict:
    """The names of the classes in a row's mask, and the fraction of its labelled pixels that is of each class."""
    mask = np.asarray(row["mask"])
    counts = np.bincount(mask[mask != IGNORE_INDEX], minlength=len(CLASS_NAMES))
    return {
        "class_tags": [name for name, count in zip(CLASS_NAMES, counts, strict=True) if count],
        "class_areas": (counts / counts.sum()).tolist(),
    }
