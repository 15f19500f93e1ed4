"""Images and masks from the Hub, from local folders or drawn, in the one form that the rest of the package reads."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi

from .columns import (
    EVAL_SPLITS,
    TRAIN_SPLITS,
    VOC_DATASETS,
    Rows,
    choose_split,
    find_class_names,
    hold_out,
    rename_columns,
    subsample,
)
from .local import read_folder_pair
from .masks import parse_palette, voc_palette
from .shapes import SHAPE_DATASETS, load_shapes


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSource:
    """
    Where images and masks came from, in words that mean something elsewhere too.

    Args:
        name (`str`): the Hub id, the name of a built-in data set, or the last part of a local folder's path.
        on_hub (`bool`): whether `name` is a Hub id.
        config (`str`, *optional*): the configuration that was asked for.
        revision (`str`, *optional*): the commit on the Hub; where the Hub does not tell it, the revision asked for.
        train_split, eval_split (`str`): the names of the splits; no `train_split` where nothing is to train on.
    """

    name: str
    on_hub: bool
    config: str | None
    revision: str | None
    train_split: str | None
    eval_split: str


@dataclass(frozen=True)
class SegmentationData:
    """
    A data set in the one form that the rest of the package reads.

    Args:
        train (`datasets.Dataset` or `datasets.IterableDataset`):
            Columns `image`, maybe `mask`, which is None in rows without one, and whatever else the source has; None
            where nothing is to train on.
        validation (`datasets.Dataset` or `datasets.IterableDataset`):
            The same columns.
        class_names (`list[str]`):
            One name a class; the position is the class id in the masks.
        palette (`list[tuple[int, int, int]]`):
            One RGB colour (0 to 255) a class, for pictures of maps.
        source ([`DataSource`]):
            Where it came from.
        mask_palette (`list[tuple[int, int, int]]`, *optional*):
            The colours that RGB masks are read by; None where they are refused.
    """

    train: datasets.Dataset | datasets.IterableDataset | None
    validation: datasets.Dataset | datasets.IterableDataset
    class_names: list[str]
    palette: list[tuple[int, int, int]]
    source: DataSource
    mask_palette: list[tuple[int, int, int]] | None = None


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
    palette: Sequence[str | Sequence[int]] | None = None,
    validation_fraction: float = 0.1,
    max_train_samples: int | None = None,
    max_eval_samples: int | None = None,
    seed: int = 42,
    require_train: bool = True,
) -> SegmentationData:
    """
    Loads a segmentation data set, wherever it lives.

    Args:
        dataset_name (`str`):
            A Hub id (`"nateraw/pascal-voc-2012"`); a local folder that `datasets.load_dataset` reads, of images alone
            or with a `metadata.jsonl` of what is known of each, say; two folders
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
        image_column (`str`, *optional*, defaults to the first of `image`, `pixel_values`, `img` that holds images):
            The column to call `image`.
        mask_column (`str`, *optional*, defaults to the first of `mask`, `segmentation_mask`, `annotation`, `label`, \
        `labels` that holds images):
            The column to call `mask`. `"none"`: there are none.
        class_names (`list[str]`, *optional*):
            At most 255 names, by class id. Known without being passed for the built-in data sets, the ids in
            `VOC_DATASETS` and local folders that hold an `id2label.json`.
        palette (`list[tuple[int, int, int]]` or `list[str]`, *optional*):
            The colour of each class in RGB masks, (red, green, blue) or a string like `"#804000"`. RGB masks are
            refused without it, except those of `VOC_DATASETS`.
        validation_fraction (`float`, *optional*, defaults to 0.1):
            The share of the training rows, above 0 and below 1, to hold out where there is no split to evaluate on.
        max_train_samples (`int`, *optional*):
            Keep only so many training rows, chosen by `seed`; of a stream the first.
        max_eval_samples (`int`, *optional*):
            Keep only so many evaluation rows, likewise.
        seed (`int`, *optional*, defaults to 42):
            Decides which rows are held out and which are kept and, when streaming, the order of the training rows.
        require_train (`bool`, *optional*, defaults to `True`):
            Whether there must be a split to train on. If not, `train` is None where there is only one to evaluate on.

    Returns:
        [`SegmentationData`]

    Raises:
        `FileNotFoundError`: no such data set, folder or partner file.
        `PermissionError`: a folder that may not be read.
        `ValueError`: no such split or column, a split without rows, a column that holds no images, a damaged file,
        unknown class names, a wrong palette.
    """
    names = find_class_names(dataset_name, class_names)
    mask_palette = parse_palette(palette, len(names))
    if mask_palette is None and dataset_name in VOC_DATASETS:
        mask_palette = voc_palette(len(names))
    splits = _read_splits(dataset_name, dataset_config, revision, streaming)
    quoted = repr(dataset_name)
    has_evaluation = eval_split is not None or bool(set(EVAL_SPLITS) & set(splits))
    if require_train or train_split is not None or not has_evaluation or set(TRAIN_SPLITS) & set(splits):
        train_split = choose_split(train_split, TRAIN_SPLITS, splits, quoted, "train_split")
        train = splits[train_split]
    else:
        train = None
    if has_evaluation:
        eval_split = choose_split(eval_split, EVAL_SPLITS, splits, quoted, "eval_split")
        validation = splits[eval_split]
    else:
        train, validation = hold_out(train, validation_fraction, seed, quoted)

    def prepare(rows: Rows, split: str, limit: int | None, option: str) -> Rows:
        if not isinstance(rows, datasets.IterableDataset) and not len(rows):
            raise ValueError(f"The split {split!r} of {quoted} has no rows. Pass another one, or add images.")
        return rename_columns(subsample(rows, limit, seed, option), image_column, mask_column, quoted)

    validation = prepare(validation, eval_split or train_split, max_eval_samples, "max_eval_samples")
    if train is not None:
        train = prepare(train, train_split, max_train_samples, "max_train_samples")
        if streaming:
            train = train.shuffle(seed=seed, buffer_size=1000)
    eval_split = eval_split or f"{train_split}, held-out rows"
    logger.info("%s: training on split %s, evaluating on %s", dataset_name, train_split, eval_split)
    source = _source(dataset_name, dataset_config, revision, train_split, eval_split)
    return SegmentationData(train, validation, names, mask_palette or voc_palette(len(names)), source, mask_palette)


def _source(name: str, config: str | None, revision: str | None, *splits: str | None) -> DataSource:
    on_hub = name not in SHAPE_DATASETS and "," not in name and not Path(name).expanduser().exists()
    if not on_hub:
        return DataSource(",".join(Path(part.strip()).name for part in name.split(",")), False, config, None, *splits)
    try:
        revision = HfApi().dataset_info(name, revision=revision, timeout=10).sha
    except Exception as error:  # the rows are here, from the cache: no reason to stop
        logger.warning("The commit of %s is not known, the Hub did not tell it: %s", name, error)
    return DataSource(name, True, config, revision, *splits)


def _read_splits(name: str, config: str | None, revision: str | None, streaming: bool) -> datasets.DatasetDict:
    if name in SHAPE_DATASETS or "," in name:
        splits = load_shapes(**SHAPE_DATASETS[name]) if name in SHAPE_DATASETS else read_folder_pair(name)
        return {split: rows.to_iterable_dataset() for split, rows in splits.items()} if streaming else splits
    try:
        return datasets.load_dataset(os.path.expanduser(name), config, revision=revision, streaming=streaming)
    except (FileNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(
            f"The data set {name!r} cannot be loaded: {error} Pass a Hub id that can be reached from here, the "
            f"folder of a data set, two folders 'IMAGES,MASKS', or one of {list(SHAPE_DATASETS)}."
        ) from error
    except PermissionError as error:
        raise PermissionError(f"{name!r} may not be read: {error}. Correct its permissions.") from error
    except (datasets.exceptions.DatasetsError, pa.ArrowException, ValueError) as error:
        bad = _damaged_parquet(Path(name).expanduser())
        what = f"{bad[0]}: {bad[1]}" if bad else str(error.__cause__ or error)
        remedy = "Replace or remove the file." if bad else "Correct its files, or the options that choose from them."
        raise ValueError(f"The data set {name!r} cannot be read: {what.rstrip('.')}. {remedy}") from error


def _damaged_parquet(folder: Path) -> tuple[Path, Exception] | None:
    """The first parquet file of a folder that has no valid end, and what is wrong with it."""
    for path in sorted(folder.rglob("*.parquet")):
        try:
            pq.read_metadata(path)
        except (pa.ArrowException, OSError) as error:
            return path, error
    return None
