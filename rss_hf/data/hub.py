"""Images and masks from the Hub, from local folders or drawn, brought into one form."""

import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
from huggingface_hub import HfApi

from .masks import VOID, voc_palette
from .shapes import SHAPE_DATASETS, SHAPE_NAMES, load_shapes


logger = logging.getLogger(__name__)

# fmt: off
VOC_CLASS_NAMES = [
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]
# fmt: on
VOC_DATASETS = ("nateraw/pascal-voc-2012", "jxie/pascal-voc-2012", "shijli/voc2012")

IMAGE_COLUMNS = ("image", "pixel_values", "img")
MASK_COLUMNS = ("mask", "segmentation_mask", "annotation", "label", "labels")
TRAIN_SPLITS = ("train", "training")
EVAL_SPLITS = ("validation", "val", "test")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


@dataclass(frozen=True)
class DataSource:
    """
    Where images and masks came from, in words that mean something elsewhere too.

    Args:
        name (`str`): the Hub id, the name of a built-in data set, or the last part of a local folder's path.
        on_hub (`bool`): whether `name` is a Hub id.
        config (`str`, *optional*): the configuration that was asked for.
        revision (`str`, *optional*): the commit on the Hub; where the Hub does not tell it, the revision asked for.
        train_split, eval_split (`str`): the names of the splits.
    """

    name: str
    on_hub: bool
    config: str | None
    revision: str | None
    train_split: str
    eval_split: str


@dataclass(frozen=True)
class SegmentationData:
    """
    A data set in the one form that the rest of the package reads.

    Args:
        train (`datasets.Dataset` or `datasets.IterableDataset`):
            Columns `image`, `mask` and whatever else the source has.
        validation (`datasets.Dataset` or `datasets.IterableDataset`):
            The same columns.
        class_names (`list[str]`):
            One name a class; the position is the class id in the masks.
        palette (`list[tuple[int, int, int]]`):
            One RGB colour (0 to 255) a class.
        source ([`DataSource`]):
            Where it came from.
    """

    train: datasets.Dataset | datasets.IterableDataset
    validation: datasets.Dataset | datasets.IterableDataset
    class_names: list[str]
    palette: list[tuple[int, int, int]]
    source: DataSource


def load_segmentation_dataset(
    dataset_name: str,
    *,
    dataset_config: str | None = None,
    revision: str | None = None,
    streaming: bool = False,
    train_split: str | None = None,
    eval_split: str | None = None,
    image_column: str | None = None,
    mask_column: str | None = None,
    class_names: Sequence[str] | None = None,
    validation_fraction: float = 0.1,
    max_train_samples: int | None = None,
    max_eval_samples: int | None = None,
    seed: int = 42,
) -> SegmentationData:
    """
    Loads a segmentation data set, wherever it lives.

    Args:
        dataset_name (`str`):
            A Hub id (`"nateraw/pascal-voc-2012"`); a local folder that `datasets.load_dataset` reads; two folders
            `"IMAGES,MASKS"` with files of equal stems, flat or in split sub-folders (`train`, `val`, ...); or one of
            the built-in `"shapes"` and `"shapes-hard"`.
        dataset_config (`str`, *optional*):
            The configuration of a Hub data set or a local folder.
        revision (`str`, *optional*):
            Branch, tag or commit of a Hub data set.
        streaming (`bool`, *optional*, defaults to `False`):
            Read rows as they are needed. The training rows are then shuffled through a buffer of 1000.
        train_split (`str`, *optional*, defaults to the first of `train`, `training` there is):
            The split to train on.
        eval_split (`str`, *optional*, defaults to the first of `validation`, `val`, `test` there is):
            The split to evaluate on. Where there is none, rows of the training split are held out.
        image_column (`str`, *optional*, defaults to the first of `image`, `pixel_values`, `img` there is):
            The column to call `image`.
        mask_column (`str`, *optional*, defaults to the first of `mask`, `segmentation_mask`, `annotation`, `label`, \
        `labels` there is):
            The column to call `mask`.
        class_names (`list[str]`, *optional*):
            At most 255 names, by class id. Known without being passed for the built-in data sets, the ids in
            `VOC_DATASETS` and local folders that hold an `id2label.json`.
        validation_fraction (`float`, *optional*, defaults to 0.1):
            The share of the training rows, above 0 and below 1, to hold out where there is no split to evaluate on.
        max_train_samples (`int`, *optional*):
            Keep only so many training rows, chosen by `seed`; of a stream the first.
        max_eval_samples (`int`, *optional*):
            Keep only so many evaluation rows, likewise.
        seed (`int`, *optional*, defaults to 42):
            Decides which rows are held out and which are kept and, when streaming, the order of the training rows.

    Returns:
        [`SegmentationData`]

    Raises:
        `FileNotFoundError`: no such data set, folder or partner file.
        `ValueError`: no such split or column, a column that holds no images, unknown class names.
    """
    names = _class_names(dataset_name, class_names)
    splits = _read_splits(dataset_name, dataset_config, revision, streaming)
    train_split = _choose("split", train_split, TRAIN_SPLITS, splits, dataset_name, "train_split")
    train = splits[train_split]
    if eval_split is None and not set(EVAL_SPLITS) & set(splits):
        train, validation = _hold_out(train, validation_fraction, seed, dataset_name)
    else:
        eval_split = _choose("split", eval_split, EVAL_SPLITS, splits, dataset_name, "eval_split")
        validation = splits[eval_split]
    train, validation = (_with_our_columns(s, image_column, mask_column, dataset_name) for s in (train, validation))
    train, validation = _some(train, max_train_samples, seed), _some(validation, max_eval_samples, seed)
    if streaming:
        train = train.shuffle(seed=seed, buffer_size=1000)
    eval_split = eval_split or f"{train_split}, held-out rows"
    logger.info("%s: training on split %s, evaluating on %s", dataset_name, train_split, eval_split)
    source = _source(dataset_name, dataset_config, revision, train_split, eval_split)
    return SegmentationData(train, validation, names, voc_palette(len(names)), source)


def _some(rows: datasets.Dataset | datasets.IterableDataset, limit: int | None, seed: int):
    """`limit` of the rows, for the first of a video are one scene; those of a stream as they come."""
    if limit is None:
        return rows
    if isinstance(rows, datasets.IterableDataset):
        return rows.take(limit)
    return rows if limit >= len(rows) else rows.shuffle(seed=seed).take(limit)


def _source(name: str, config: str | None, revision: str | None, *splits: str) -> DataSource:
    on_hub = name not in SHAPE_DATASETS and "," not in name and not Path(name).expanduser().exists()
    if not on_hub:
        return DataSource(",".join(Path(part.strip()).name for part in name.split(",")), False, config, None, *splits)
    try:
        revision = HfApi().dataset_info(name, revision=revision, timeout=10).sha
    except Exception as error:  # the rows are here, from the cache: no reason to stop
        logger.warning("The commit of %s is not known, the Hub did not tell it: %s", name, error)
    return DataSource(name, True, config, revision, *splits)


def _class_names(dataset_name: str, class_names: Sequence[str] | None) -> list[str]:
    id2label = Path(dataset_name).expanduser() / "id2label.json"
    if class_names is not None:
        names = list(class_names)
    elif dataset_name in SHAPE_DATASETS:
        names = SHAPE_NAMES[: SHAPE_DATASETS[dataset_name]["num_classes"]]
    elif dataset_name in VOC_DATASETS:
        names = VOC_CLASS_NAMES
    elif id2label.is_file():
        labels = {int(i): name for i, name in json.loads(id2label.read_text()).items()}
        if sorted(labels) != list(range(len(labels))):
            raise ValueError(f"{id2label}: the ids must count from 0 without a gap, got {sorted(labels)}.")
        names = [labels[i] for i in range(len(labels))]
    else:
        raise ValueError(
            f"The class names of {dataset_name!r} are not known. Pass class_names, one name a class id from 0 on "
            "(background included where the masks have one), or put an id2label.json into a local data set's folder."
        )
    if not 2 <= len(set(names)) == len(names) <= VOID:
        raise ValueError(f"class_names must be 2 to {VOID} different names, got {len(names)}: {names}.")
    return list(names)


def _read_splits(name: str, config: str | None, revision: str | None, streaming: bool) -> datasets.DatasetDict:
    if name in SHAPE_DATASETS or "," in name:
        splits = load_shapes(**SHAPE_DATASETS[name]) if name in SHAPE_DATASETS else _read_folder_pair(name)
        return {split: rows.to_iterable_dataset() for split, rows in splits.items()} if streaming else splits
    try:
        return datasets.load_dataset(os.path.expanduser(name), config, revision=revision, streaming=streaming)
    except (FileNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(
            f"The data set {name!r} cannot be loaded: {error} Pass a Hub id that can be reached from here, the "
            f"folder of a data set, two folders 'IMAGES,MASKS', or one of {list(SHAPE_DATASETS)}."
        ) from error


def _read_folder_pair(name: str) -> datasets.DatasetDict:
    folders = [Path(part.strip()).expanduser() for part in name.split(",")]
    if len(folders) != 2:
        raise ValueError(f"{name!r} names {len(folders)} folders: pass two, 'IMAGES,MASKS'.")
    image_folder, mask_folder = folders
    features = datasets.Features(id=datasets.Value("string"), image=datasets.Image(), mask=datasets.Image())
    splits = datasets.DatasetDict()
    for split in [s for s in (*TRAIN_SPLITS, *EVAL_SPLITS) if (image_folder / s).is_dir()] or [""]:
        images, masks = _files_by_stem(image_folder / split), _files_by_stem(mask_folder / split)
        alone = sorted(images.keys() - masks.keys())
        if alone:
            raise FileNotFoundError(
                f"{len(alone)} of the {len(images)} images in {image_folder / split} have no mask in "
                f"{mask_folder / split}, first {images[alone[0]]}: a file {alone[0]}.png is expected (equal stems). "
                "Add the masks or take the images out."
            )
        if masks.keys() - images.keys():
            logger.warning("%d masks in %s have no image", len(masks.keys() - images.keys()), mask_folder / split)
        stems = sorted(images)
        columns = {"id": stems, "image": [images[s] for s in stems], "mask": [masks[s] for s in stems]}
        splits[split or "train"] = datasets.Dataset.from_dict(columns, features=features)
    return splits


def _files_by_stem(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        beside = sorted(p.name for p in folder.parent.iterdir()) if folder.parent.is_dir() else "nothing"
        raise FileNotFoundError(f"No folder {folder}; {folder.parent} holds {beside}. Correct 'IMAGES,MASKS'.")
    files = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES):
        if path.stem in files:
            raise ValueError(f"{files[path.stem]} and {path} have the same stem: which one counts? Remove one.")
        files[path.stem] = str(path)
    if not files:
        raise FileNotFoundError(f"The folder {folder} holds no image files ({', '.join(IMAGE_SUFFIXES)}).")
    return files


def _choose(kind: str, asked: str | None, aliases: Iterable[str], there: Iterable[str], name: str, option: str) -> str:
    for candidate in aliases if asked is None else [asked]:
        if candidate in there:
            return candidate
    wanted = f"{kind} {asked!r}" if asked is not None else f"{kind} called {' or '.join(aliases)}"
    raise ValueError(f"{name!r} has no {wanted}; it has {sorted(there)}. Pass one of these as {option}.")


def _hold_out(train, fraction: float, seed: int, name: str) -> tuple[datasets.Dataset, datasets.Dataset]:
    if isinstance(train, datasets.IterableDataset):
        raise ValueError(
            f"{name!r} has no split to evaluate on, and rows cannot be held out of a stream. Pass eval_split, or "
            "streaming=False."
        )
    if not 0 < fraction < 1:
        raise ValueError(f"validation_fraction must be above 0 and below 1, got {fraction}.")
    parts = train.train_test_split(test_size=fraction, seed=seed)
    return parts["train"], parts["test"]


def _with_our_columns(rows, image_column: str | None, mask_column: str | None, name: str):
    features = rows.features
    chosen = {
        "image": _choose("column", image_column, IMAGE_COLUMNS, features, name, "image_column"),
        "mask": _choose("column", mask_column, MASK_COLUMNS, features, name, "mask_column"),
    }
    for ours, theirs in chosen.items():
        if not isinstance(features[theirs], datasets.Image):
            raise ValueError(
                f"The column {theirs!r} of {name!r} holds {features[theirs]}, not images. Pass another one of "
                f"{sorted(features)} as {ours}_column."
            )
        if theirs != ours and ours in features:
            raise ValueError(
                f"The column {theirs!r} of {name!r} is to be called {ours!r}, but there is another column of that "
                f"name. Remove or rename that one first."
            )
    return rows.rename_columns({theirs: ours for ours, theirs in chosen.items() if theirs != ours})
