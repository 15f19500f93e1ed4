"""Reads all rows of a split once, before training: what there is, and every fault by row and file."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import datasets
import numpy as np
import pyarrow.compute as pc
from datasets.fingerprint import Hasher
from datasets.utils.file_utils import xopen

from ..constants import IGNORE_INDEX
from .masks import binary_masks, known_ids, mask_to_indices, parse_palette, unknown_ids
from .rows import file_name, is_missing, keep_encoded, open_mask, open_row


FORMAT = 2  # of what is remembered: another number, and every data set is read again
MAX_PROCESSES = 8
ROWS_A_PROCESS = 200  # a process takes about a second to start
MAX_SHOWN = 20  # faults in one message
FEATURES = datasets.Features(
    size=datasets.List(datasets.Value("int32")),  # width and height
    ids=datasets.List(datasets.Value("uint8")),
    pixels=datasets.List(datasets.Value("int64")),  # of each of the ids
    digest=datasets.Value("string"),
    fault=datasets.Value("string"),
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitContents:
    """
    What a split holds.

    Attributes:
        split (`str`): its name.
        num_rows (`int`): rows, with faults or without.
        sizes (`Counter`): images by (width, height) in pixels, those that can be read.
        pixels (`Counter`): pixels of the masks by id in the file; empty without masks.
        num_unmasked (`int`): rows without a mask, those with faults left out.
        digests (`list[str]`): of each row's image as it is stored, "" where it cannot be read.
        faults (`list[str]`): one a row at most, beginning with the row and its file, and those of the whole split.
    """

    split: str
    num_rows: int
    sizes: Counter
    pixels: Counter
    num_unmasked: int
    digests: list[str]
    faults: list[str]


def check_rows(
    dataset: datasets.Dataset,
    num_classes: int,
    split: str,
    palette: Sequence[str | Sequence[int]] | None = None,
    reduce_labels: bool = False,
) -> SplitContents:
    """
    Decodes every image and mask of a split, in several processes where it has many rows. `datasets`' cache keeps the
    result, so that the same files are not read again.

    Args:
        dataset (`datasets.Dataset`):
            With a column `image` and maybe `mask`.
        num_classes (`int`):
            Ids from 0 to `num_classes - 1` and 255 are allowed.
        split (`str`):
            Its name, for the progress bar and the faults.
        palette (`list[tuple[int, int, int]]` or `list[str]`, *optional*):
            The colour of each class, for RGB masks, which are faults without it.
        reduce_labels (`bool`, *optional*, defaults to `False`):
            Whether ids of the files count from 1, see [`~rss_hf.data.rows.open_row`].

    Returns:
        [`SplitContents`]
    """
    palette = parse_palette(palette, num_classes)
    rows = keep_encoded(dataset.select_columns([name for name in ("image", "mask") if name in dataset.column_names]))
    scan = _scan(rows, palette, split)
    faults, sizes, pixels, num_unmasked = [], Counter(), Counter(), 0
    for index, read in enumerate(scan):
        fault = read["fault"]
        if not fault:
            sizes[tuple(read["size"])] += 1
            pixels.update(dict(zip(read["ids"], read["pixels"], strict=True)))
            num_unmasked += not read["ids"]
            if unknown := unknown_ids(read["ids"], num_classes, reduce_labels):
                file = file_name("", rows[index]["mask"])
                fault = f"{file}: {len(unknown)} mask ids without a class, {unknown[:10]}"
        if fault:
            faults.append(f"row {index} of split {split!r}{fault}")
    # What concerns the whole split comes first, lest the list be cut before it.
    if unknown := unknown_ids(pixels, num_classes, reduce_labels):
        faults.insert(0, f"split {split!r}: mask ids {unknown[:10]}: {known_ids(num_classes, reduce_labels)}")
    if fault := _fault_of_split(pixels, split, reduce_labels):
        faults.insert(0, fault)
    return SplitContents(split, len(rows), sizes, pixels, num_unmasked, scan["digest"][:], faults)


def _fault_of_split(pixels: Counter, split: str, reduce_labels: bool) -> str | None:
    """What is wrong with the masks of a split together: each alone could be right."""
    ids = set(pixels)
    if ids == {0, IGNORE_INDEX} and not reduce_labels:
        return binary_masks(f"split {split!r}: all masks")
    if ids and ids <= ({0, IGNORE_INDEX} if reduce_labels else {IGNORE_INDEX}):
        return (
            f"split {split!r}: no pixel of any mask has a class, all are {' or '.join(map(str, sorted(ids)))}. There "
            "is nothing to learn from or to score: check that these are the right masks."
        )
    return None


def check_splits(
    splits: dict[str, datasets.Dataset | datasets.IterableDataset],
    num_classes: int,
    palette: Sequence[str | Sequence[int]] | None = None,
    reduce_labels: bool = False,
) -> list[SplitContents]:
    """
    Reads every row of some splits once, so that a bad one stops the run before training and not in its midst. Warns of
    images that are in more than one of them, and of rows without a mask where others have one.

    Args:
        splits (`dict[str, datasets.Dataset]`):
            By name. An `IterableDataset` is passed over: [`~rss_hf.data.StreamingSegmentationDataset`] checks its rows
            as they come.
        num_classes, palette, reduce_labels:
            As for [`check_rows`].

    Returns:
        `list[SplitContents]`: what each split holds.

    Raises:
        `ValueError`: it lists the faults of all rows: images or masks that cannot be read, sizes that differ, ids
        outside the classes; or says that no mask holds a class, or only 0 and 255 (binary masks, whose foreground
        would be ignored).
    """
    contents = [
        check_rows(rows, num_classes, split, palette, reduce_labels)
        for split, rows in splits.items()
        if not isinstance(rows, datasets.IterableDataset)
    ]
    if faults := [fault for content in contents for fault in content.faults]:
        raise ValueError(list_of_faults(faults))
    for content in contents:
        if content.pixels and content.num_unmasked:
            logger.warning("%s", unmasked_rows(content))
    for first, second in combinations(contents, 2):
        if shared := shared_images(first, second):
            logger.warning("%s", shared)
    return contents


def check_labels(
    dataset: datasets.Dataset | datasets.IterableDataset,
    num_classes: int,
    split: str,
    palette: Sequence[str | Sequence[int]] | None = None,
    reduce_labels: bool = False,
) -> None:
    """[`check_splits`] of one split, called `split`."""
    check_splits({split: dataset}, num_classes, palette, reduce_labels)


def unmasked_rows(content: SplitContents) -> str:
    """How many rows of a split have no mask, and what that means."""
    return (
        f"split {content.split!r}: {content.num_unmasked} of {content.num_rows} rows have no mask; all their pixels "
        "count as unlabelled."
    )


def list_of_faults(faults: list[str]) -> str:
    """The first `MAX_SHOWN` faults, a line each, and how many more there are."""
    more = [f"and {len(faults) - MAX_SHOWN} more."] if len(faults) > MAX_SHOWN else []
    return "\n".join([*faults[:MAX_SHOWN], *more])


def shared_images(first: SplitContents, second: SplitContents) -> str | None:
    """
    A sentence on the images of one split that are in the other too, byte by byte; None where there are none.

    They are no fault: whether a network can learn its training rows by heart is a fair question, and public data sets
    have a few images twice.
    """
    known = set(first.digests) - {""}
    shared = [index for index, digest in enumerate(second.digests) if digest in known]
    if not shared:
        return None
    return (
        f"{len(shared)} of the {second.num_rows} images of split {second.split!r} are images of split "
        f"{first.split!r} too, first row {shared[0]}: scores on them say what was learned by heart, not what the "
        "network can do. Take them out of one of the splits."
    )


def _scan(rows: datasets.Dataset, palette: list[tuple[int, int, int]] | None, split: str) -> datasets.Dataset:
    """`FEATURES` of each row, from the cache where the same rows were read before."""
    fingerprint = Hasher.hash([FORMAT, rows._fingerprint, palette, _file_states(rows)])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processes = min(MAX_PROCESSES, cores, len(rows) // ROWS_A_PROCESS)
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "rss_hf"
    folder.mkdir(parents=True, exist_ok=True)
    return rows.map(
        _read_row,
        fn_kwargs={"palette": palette},
        remove_columns=rows.column_names,
        features=FEATURES,
        num_proc=processes if processes > 1 else None,
        new_fingerprint=fingerprint,
        # Said here, because rows in memory, such as those of two folders, have no place in the cache of their own.
        cache_file_name=str(folder / f"checked-{fingerprint}.arrow"),
        desc=f"Reading {split}",
    )


def _file_states(rows: datasets.Dataset) -> str:
    """
    A hash of the size and the times of all local files that rows stand for. `datasets` knows their paths alone. The
    time of the last change of the inode is in it, which no copying or unpacking sets back.
    """
    states = hashlib.blake2b(digest_size=16)
    for column in rows.column_names:
        values = rows.data.column(column)
        stored = pc.is_null(pc.struct_field(values, "bytes"))
        for path in pc.struct_field(values, "path").filter(stored).to_pylist():
            if path is not None and os.path.exists(path):
                state = os.stat(path)
                states.update(f"{path} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}\n".encode())
    return states.hexdigest()


def _read_row(row: dict, palette: list[tuple[int, int, int]] | None) -> dict:
    """`FEATURES` of a row; its fault is what comes after the name of the row in [`open_row`]'s error."""
    none = np.zeros(0, np.int64)
    read = {"size": none, "ids": none, "pixels": none, "digest": "", "fault": ""}
    try:
        image, indices = open_row(row, "", palette)
    except ValueError as error:
        others = [f" And {fault.lstrip(' :')}" for fault in _faults_of_mask(row, palette) if fault != str(error)]
        return read | {"fault": str(error) + "".join(others)}
    read |= {"size": list(image.size), "digest": hashlib.blake2b(_content(row["image"]), digest_size=16).hexdigest()}
    if indices is not None and not is_missing(row["mask"]):
        counts = np.bincount(indices.ravel(), minlength=IGNORE_INDEX + 1)
        read["ids"] = np.flatnonzero(counts)
        read["pixels"] = counts[read["ids"]]
    return read


def _faults_of_mask(row: dict, palette: list[tuple[int, int, int]] | None) -> list[str]:
    """What is wrong with the mask of a row, whatever its image is like."""
    if not is_missing(row.get("mask")):
        where = file_name("", row["mask"])
        try:
            mask_to_indices(open_mask(row["mask"], where), palette, where)
        except ValueError as error:
            return [str(error)]
    return []


def _content(image: dict) -> bytes:
    """The file of an encoded image."""
    if image["bytes"] is not None:
        return image["bytes"]
    with xopen(image["path"], "rb") as file:
        return file.read()
