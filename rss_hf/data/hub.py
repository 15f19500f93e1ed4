"""Images and masks from the Hub, from local folders or drawn: brought into one form, checked before training."""

import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import datasets
import numpy as np
import PIL.Image
import PIL.ImageOps


logger = logging.getLogger(__name__)

VOID = 255
"""The label of pixels that belong to no class: not scored, not trained on, and what masks are padded with."""

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
    """

    train: datasets.Dataset | datasets.IterableDataset
    validation: datasets.Dataset | datasets.IterableDataset
    class_names: list[str]
    palette: list[tuple[int, int, int]]


def voc_palette(num_colors: int = 256) -> list[tuple[int, int, int]]:
    """The first `num_colors` (at most 256) RGB colours of PASCAL VOC; entry 255 is the void colour (224, 224, 192)."""
    # VOC deals the bits of the class id out to red, green and blue in turn, highest colour bit first.
    return [
        tuple(sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)) for channel in range(3))
        for index in range(num_colors)
    ]


VOC_PALETTE = voc_palette()


def mask_to_indices(mask: PIL.Image.Image, palette: Sequence[tuple[int, int, int]], where: str) -> np.ndarray:
    """
    Class ids of a mask image.

    Args:
        mask (`PIL.Image.Image`):
            Mode `P` or `L`: the pixels are the ids. `1`: 0 and 1. `I` and `I;16`: ids too, if all are 0 to 255. `RGB`:
            colours of `palette`, or VOC's void colour (224, 224, 192), are turned back into ids.
        palette (`list[tuple[int, int, int]]`):
            The colour of each class, for RGB masks.
        where (`str`):
            The file or row, for the error.

    Returns:
        `np.ndarray`: (H, W) uint8, class ids and 255 for void.

    Raises:
        `ValueError`: another mode, an RGB colour outside the palette, or values beyond 255.
    """
    if mask.mode in ("P", "L", "1"):
        return np.array(mask, dtype=np.uint8)
    if mask.mode.startswith("I"):
        values = np.asarray(mask)
        if values.min() < 0 or values.max() > VOID:
            raise ValueError(
                f"{where}: the mask has mode {mask.mode!r} with values {values.min()} to {values.max()}; class ids "
                f"are 0 to 254 and void is {VOID}. Save it as an 8-bit PNG (mode L or P) of class ids."
            )
        return values.astype(np.uint8)
    if mask.mode != "RGB":
        raise ValueError(
            f"{where}: the mask has mode {mask.mode!r}, which does not say the class of a pixel. "
            "Save it as an 8-bit PNG (mode L or P) of class ids."
        )
    codes = np.asarray(mask).astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
    id_of_code = {(r << 16) + (g << 8) + b: i for i, (r, g, b) in [(VOID, VOC_PALETTE[VOID]), *enumerate(palette)]}
    known = np.array(sorted(id_of_code))
    position = np.searchsorted(known, codes).clip(max=len(known) - 1)
    unknown = codes[known[position] != codes]
    if unknown.size:
        colors = [(int(c) >> 16, int(c) >> 8 & 255, int(c) & 255) for c in np.unique(unknown)]
        raise ValueError(
            f"{where}: the mask is RGB and {len(colors)} of its colours are not in the palette of {len(palette)} "
            f"classes: {colors[:5]}. Save it as an 8-bit PNG (mode L or P) of class ids."
        )
    return np.array([id_of_code[code] for code in known.tolist()], dtype=np.uint8)[position]


def row_name(row: dict, index: int, split: str = "") -> str:
    """How errors call a row: its number, its split and, where the data set kept it, the file of its mask or image."""
    name = f"row {index} of split {split!r}" if split else f"row {index}"
    for column in ("mask", "image"):
        value = row.get(column)
        if isinstance(value, dict) and value["path"]:
            return f"{name} ({value['path']})"
    return name


def open_pair(row: dict, where: str) -> tuple[PIL.Image.Image, PIL.Image.Image | None]:
    """
    The mask of a row, decoded, and its image, opened only: its size and mode are known without decoding it.

    The image keeps the orientation in which its pixels are stored; only where the mask fits the orientation that its
    EXIF tag asks for, or where there is no mask, is it turned.

    Args:
        row (`dict`):
            `image` and, maybe, `mask`: PIL images, or `{"bytes", "path"}` as `datasets.Image(decode=False)` gives.
        where (`str`):
            The row, for the errors.

    Returns:
        `tuple[PIL.Image.Image, PIL.Image.Image | None]`: of equal size; None for a row without a `mask` column.

    Raises:
        `ValueError`: an image that is missing, damaged or of more than 8 bits a channel, or sizes that differ.
    """
    image = _open(row["image"], f"{where}: the image")
    if image.mode[0] in "IF":
        raise ValueError(
            f"{where}: the image has mode {image.mode!r}, whose range is not known. Convert it to 8 bits a channel."
        )
    if "mask" not in row:
        return PIL.ImageOps.exif_transpose(image), None
    mask = _open(row["mask"], f"{where}: the mask")
    load(mask, f"{where}: the mask")
    if image.size == mask.size:
        return image, mask
    turned = PIL.ImageOps.exif_transpose(image)
    if turned.size != mask.size:
        raise ValueError(
            f"{where}: the image is {image.width}x{image.height} pixels and its mask {mask.width}x{mask.height}. "
            "They must be of one size: check that the two belong together, or resize the mask with nearest neighbour."
        )
    return turned, mask


def load(image: PIL.Image.Image, what: str) -> None:
    """Decodes the pixels of an opened image; `ValueError` naming `what` if the file is damaged."""
    try:
        image.load()
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{what} cannot be decoded: {error}. Replace or remove the file.") from error


def _open(value, what: str) -> PIL.Image.Image:
    if isinstance(value, PIL.Image.Image):
        return value
    if value is None:
        raise ValueError(f"{what} is missing (None). Filter such rows out first.")
    try:
        return PIL.Image.open(value["path"] if value["bytes"] is None else BytesIO(value["bytes"]))
    except OSError as error:
        raise ValueError(f"{what} cannot be opened: {error}. Replace or remove the file.") from error


def present_ids(indices: np.ndarray) -> np.ndarray:
    """The different ids, ascending, uint8, in a uint8 array of any shape."""
    return np.flatnonzero(np.bincount(indices.ravel(), minlength=256)).astype(np.uint8)


def refuse_unknown_ids(ids: Iterable[int], num_classes: int, where: str) -> None:
    """Raises `ValueError`, naming them, if any of `ids` is neither a class id below `num_classes` nor void (255)."""
    unknown = sorted(int(i) for i in set(ids) if not (0 <= i < num_classes or i == VOID))
    if unknown:
        raise ValueError(
            f"{where}: {len(unknown)} mask ids without a class, {unknown[:10]}: with {num_classes} classes the ids "
            f"are 0 to {num_classes - 1}, and {VOID} for void. Pass as many class_names as the masks have ids, or "
            "renumber the masks (and store them without loss, as PNG)."
        )


def check_labels(dataset: datasets.Dataset | datasets.IterableDataset, num_classes: int, split: str) -> None:
    """
    Reads every mask of a split once, so that a bad one stops the run before training and not in its midst.

    About a thousand masks a second; `datasets` keeps the result, so that the same data set is not read again. An
    `IterableDataset` is passed over: [`~rss_hf.data.transforms.StreamingSegmentationDataset`] checks its rows.

    Args:
        dataset (`datasets.Dataset` or `datasets.IterableDataset`):
            With columns `image` and `mask`.
        num_classes (`int`):
            Ids from 0 to `num_classes - 1` and 255 are allowed.
        split (`str`):
            Its name, for the progress bar and the errors.

    Raises:
        `ValueError`: ids outside the classes, a mask that has another size than its image or that cannot be read, or
        masks that only know 0 and 255 (binary masks, whose foreground would be taken for void).
    """
    if isinstance(dataset, datasets.IterableDataset):
        return
    rows = undecoded(dataset.select_columns(["image", "mask"]))
    scan = rows.map(
        _present_ids,
        with_indices=True,
        fn_kwargs={"split": split},
        remove_columns=rows.column_names,
        features=datasets.Features(ids=datasets.List(datasets.Value("uint8"))),
        desc=f"Checking the masks of {split}",
    )
    row_of_id = {}
    for index, ids in enumerate(scan["ids"]):
        for i in ids:
            row_of_id.setdefault(i, index)
    unknown = [index for i, index in row_of_id.items() if i >= num_classes and i != VOID]
    if unknown:
        first = min(unknown)
        refuse_unknown_ids(row_of_id, num_classes, f"split {split!r}, first in {row_name(rows[first], first)}")
    if set(row_of_id) == {0, VOID}:
        raise ValueError(
            f"split {split!r}: all masks hold only 0 and {VOID}, and {VOID} is void here, not a class. Store the "
            "foreground of binary masks as 1."
        )


def undecoded(dataset: datasets.Dataset) -> datasets.Dataset:
    """The same rows with `image` and `mask` as `{"bytes", "path"}`, which [`open_pair`] opens."""
    for column in ("image", "mask"):
        if column in dataset.column_names:
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
    return dataset


def _present_ids(row: dict, index: int, split: str) -> dict[str, np.ndarray]:
    where = row_name(row, index, split)
    return {"ids": present_ids(mask_to_indices(open_pair(row, where)[1], VOC_PALETTE, where))}


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
            Keep only the first so many training rows.
        max_eval_samples (`int`, *optional*):
            Keep only the first so many evaluation rows.
        seed (`int`, *optional*, defaults to 42):
            Decides which rows are held out and, when streaming, the order of the training rows.

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
    train = train if max_train_samples is None else train.take(max_train_samples)
    validation = validation if max_eval_samples is None else validation.take(max_eval_samples)
    if streaming:
        train = train.shuffle(seed=seed, buffer_size=1000)
    logger.info("%s: training on split %s, evaluating on %s", dataset_name, train_split, eval_split or "held-out rows")
    return SegmentationData(train, validation, names, voc_palette(len(names)))


def _class_names(dataset_name: str, class_names: Sequence[str] | None) -> list[str]:
    from .shapes import SHAPE_DATASETS, SHAPE_NAMES  # not above: shapes.py takes its palette from this file

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
    from .shapes import SHAPE_DATASETS, load_shapes  # not above: shapes.py takes its palette from this file

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
