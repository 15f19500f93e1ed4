"""What a data set leaves open: which column is the image, which split to train on, class names, how many rows."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import datasets
import pyarrow.compute as pc

from ..constants import IGNORE_INDEX
from .shapes import SHAPE_DATASETS, SHAPE_NAMES


IMAGE_COLUMNS = ("image", "pixel_values", "img")
MASK_COLUMNS = ("mask", "segmentation_mask", "annotation", "label", "labels")
NO_MASKS = "none"  # as the name of the column of masks
TRAIN_SPLITS = ("train", "training")
EVAL_SPLITS = ("validation", "val", "test")
# fmt: off
VOC_CLASS_NAMES = [
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]
# fmt: on
VOC_DATASETS = ("nateraw/pascal-voc-2012", "jxie/pascal-voc-2012", "shijli/voc2012")

Rows = datasets.Dataset | datasets.IterableDataset


def rename_columns(
    rows: Rows, image_column: str | None = None, mask_column: str | None = None, name: str = "the data set"
) -> Rows:
    """
    The same rows with the column of images called `image` and the column of masks, if there is one, called `mask`. A
    column in which no row has a mask is left out, but for streams, whose rows are not known.

    Args:
        rows (`datasets.Dataset` or `datasets.IterableDataset`):
            Images and masks are columns with the feature `datasets.Image`.
        image_column (`str`, *optional*, defaults to the first of `image`, `pixel_values`, `img` that holds images):
            The column to call `image`.
        mask_column (`str`, *optional*, defaults to the first of `mask`, `segmentation_mask`, `annotation`, `label`, \
        `labels` that holds images):
            The column to call `mask`. A column of strings or numbers is only taken, and refused, if it is named here.
            `"none"`: there are none; columns that would be taken for masks are left out.
        name (`str`, *optional*, defaults to `"the data set"`):
            The data set, for the errors.

    Raises:
        `ValueError`: no such column, a column that holds no images, or two columns for one name.
    """
    features = known_features(rows, name)
    image_column = image_column or _first_of_images(IMAGE_COLUMNS, features)
    if mask_column == NO_MASKS:
        found = {"mask", *MASK_COLUMNS} & set(features) - {image_column}
        rows = rows.remove_columns([c for c in found if c == "mask" or isinstance(features[c], datasets.Image)])
        features, mask_column = known_features(rows, name), None
    # `mask` means masks wherever rows are read: a column of that name that holds no images is refused, not passed by.
    mask_column = mask_column or _first_of_images(MASK_COLUMNS, features) or ("mask" if "mask" in features else None)
    if image_column is None:
        raise ValueError(
            f"{name} has no column of images called {' or '.join(IMAGE_COLUMNS)}; {columns_in_words(features)}. Pass "
            "the one that holds the images as image_column, or rename it to 'image'."
        )
    if image_column == mask_column:
        raise ValueError(
            f"The column {image_column!r} of {name} cannot be the image and the mask; {columns_in_words(features)}. "
            "Pass another column for one of them, or 'none' as mask_column."
        )
    new_names = {image_column: "image"} | ({mask_column: "mask"} if mask_column else {})
    for theirs, ours in new_names.items():
        no_masks = f", or {NO_MASKS!r} where there are no masks" if ours == "mask" else ""
        if theirs not in features:
            raise ValueError(
                f"{name} has no column {theirs!r}; {columns_in_words(features)}. Pass one with images as {ours}_column"
                f"{no_masks}."
            )
        if not isinstance(features[theirs], datasets.Image):
            raise ValueError(
                f"The column {theirs!r} of {name} holds {features[theirs]}, not images; {columns_in_words(features)}. "
                f"Pass one with images as {ours}_column{no_masks}, or rename or cast this one."
            )
        if theirs != ours and ours in features:
            raise ValueError(
                f"The column {theirs!r} of {name} is to be called {ours!r}, but there is another column of that "
                "name. Remove or rename that one first."
            )
    if mask_column and not _have_masks(rows, mask_column):
        rows, new_names = rows.remove_columns(mask_column), {image_column: "image"}
    if all(theirs == ours for theirs, ours in new_names.items()):
        return rows
    # Renaming maps a stream, which decodes its images and encodes them again (JPEG with losses) unless told not to.
    for theirs in new_names:
        rows = rows.cast_column(theirs, datasets.Image(decode=False))
    rows = rows.rename_columns({theirs: ours for theirs, ours in new_names.items() if theirs != ours})
    for theirs, ours in new_names.items():
        rows = rows.cast_column(ours, features[theirs])
    return rows


def columns_in_words(features: datasets.Features) -> str:
    """Which columns there are, those that hold images apart: what an error says before its remedy."""
    images = sorted(name for name, feature in features.items() if isinstance(feature, datasets.Image))
    others = sorted(set(features) - set(images))
    return f"images are in {images or 'no column'}, other columns are {others}"


def _have_masks(rows: Rows, mask_column: str) -> bool:
    """Whether any row has a mask, taken to be so of a stream and of no rows. Decodes nothing."""
    if isinstance(rows, datasets.IterableDataset) or not len(rows):
        return True
    for batch in rows.select_columns(mask_column).with_format("arrow").iter(100):
        parts = [pc.struct_field(batch[mask_column], name) for name in ("bytes", "path")]
        if any(part.null_count < len(part) for part in parts):
            return True
    return False


def _first_of_images(candidates: Iterable[str], features: datasets.Features) -> str | None:
    return next((c for c in candidates if isinstance(features.get(c), datasets.Image)), None)


def known_features(rows: Rows, name: str = "the data set") -> datasets.Features:
    """The features of the columns; `ValueError` for a stream that does not say them, as after `map`."""
    if rows.features is None:
        raise ValueError(
            f"The columns of {name} are not known: it is a stream that was mapped. Pass features= to `map`, or "
            "`cast` the stream."
        )
    return rows.features


def choose_split(asked: str | None, candidates: Sequence[str], splits: Iterable[str], name: str, option: str) -> str:
    """
    The split asked for, or the first of the candidates there is.

    Args:
        asked (`str`, *optional*): the split the user named.
        candidates (`Sequence[str]`): names to try where none was asked for.
        splits (`Iterable[str]`): the splits there are.
        name, option (`str`): the data set and the argument that chooses, for the error.

    Raises:
        `ValueError`: no such split.
    """
    for candidate in candidates if asked is None else [asked]:
        if candidate in splits:
            return candidate
    wanted = f"split {asked!r}" if asked is not None else f"split called {' or '.join(candidates)}"
    raise ValueError(f"{name} has no {wanted}; it has {sorted(splits)}. Pass one of these as {option}.")


def hold_out(train: Rows, fraction: float, seed: int, name: str) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Training rows split, by `seed`, into those to train on and a share of `fraction` in (0, 1) to evaluate on."""
    if isinstance(train, datasets.IterableDataset):
        raise ValueError(
            f"{name} has no split to evaluate on, and rows cannot be held out of a stream. Pass eval_split, or "
            "streaming=False."
        )
    if not 0 < fraction < 1:
        raise ValueError(f"validation_fraction must be above 0 and below 1, got {fraction}.")
    if math.ceil(fraction * len(train)) >= len(train):
        raise ValueError(
            f"{name} has no split to evaluate on, and {len(train)} rows are too few to hold out a share of "
            f"{fraction}. Add images, or pass eval_split."
        )
    parts = train.train_test_split(test_size=fraction, seed=seed)
    return parts["train"], parts["test"]


def subsample(rows: Rows, limit: int | None, seed: int, option: str = "limit") -> Rows:
    """
    At most `limit` rows: drawn by `seed`, because the first of a video are one scene; of a stream the first. Errors
    call the limit `option`.
    """
    if limit is None:
        return rows
    if limit < 1:
        raise ValueError(f"{option} must be at least 1, got {limit}. Leave it out to keep all rows.")
    if isinstance(rows, datasets.IterableDataset):
        return rows.take(limit)
    return rows if limit >= len(rows) else rows.shuffle(seed=seed).take(limit)


def find_class_names(dataset_name: str, class_names: Sequence[str] | None) -> list[str]:
    """
    The class names that were passed, or else those that are known for a data set.

    Raises:
        `ValueError`: no known names, names given twice, fewer than 2 or more than 255.
    """
    id2label = Path(dataset_name).expanduser() / "id2label.json"
    if isinstance(class_names, str):
        raise ValueError(f"class_names must be a list of names, got the text {class_names!r}.")
    if class_names is not None:
        names = list(class_names)
    elif dataset_name in SHAPE_DATASETS:
        names = SHAPE_NAMES[: SHAPE_DATASETS[dataset_name]["num_classes"]]
    elif dataset_name in VOC_DATASETS:
        names = list(VOC_CLASS_NAMES)
    elif id2label.is_file():
        names = _read_id2label(id2label)
    else:
        raise ValueError(
            f"The class names of {dataset_name!r} are not known. Pass class_names, one name a class id from 0 on "
            "(background included where the masks have one), or put an id2label.json into a local data set's folder."
        )
    if bad := [name for name in names if not isinstance(name, str) or not name.strip()]:
        raise ValueError(
            f"class_names must be texts that are not empty, got {bad[:5]}. In YAML, quote names like 'no'."
        )
    if not 2 <= len(set(names)) == len(names) <= IGNORE_INDEX:
        raise ValueError(f"class_names must be 2 to {IGNORE_INDEX} different names, got {len(names)}: {names}.")
    return names


def _read_id2label(path: Path) -> list[str]:
    """The class names of an `id2label.json`, {"0": name, ...}, in the order of their ids, which have no gap."""
    try:
        labels = {int(i): name for i, name in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f'{path} cannot be read as class names: {error}. It must be JSON like {{"0": "background", "1": "car"}}; '
            "or pass class_names instead."
        ) from error
    if not labels or sorted(labels) != list(range(len(labels))):
        raise ValueError(f"{path}: the ids must count from 0 without a gap, got {sorted(labels)}.")
    return [labels[i] for i in range(len(labels))]
