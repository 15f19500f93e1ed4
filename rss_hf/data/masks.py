"""
Masks as class ids and image files that may be damaged: what a row holds, decoded or refused with the row's name.

`VOID` (255) is the label of pixels that belong to no class: not scored, not trained on, what masks are padded with.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO

import datasets
import numpy as np
import PIL.Image
import PIL.ImageOps

from ..constants import IGNORE_INDEX as VOID


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
        return _turn(image, f"{where}: the image"), None
    mask = _open(row["mask"], f"{where}: the mask")
    load(mask, f"{where}: the mask")
    if image.size == mask.size:
        return image, mask
    turned = _turn(image, f"{where}: the image")
    if turned.size != mask.size:
        raise ValueError(
            f"{where}: the image is {image.width}x{image.height} pixels and its mask {mask.width}x{mask.height}. "
            "They must be of one size: check that the two belong together, or resize the mask with nearest neighbour."
        )
    return turned, mask


def load(image: PIL.Image.Image, what: str) -> None:
    """Decodes the pixels of an opened image; `ValueError` naming `what` if the file is damaged."""
    with _damage_named(what, "decoded"):
        image.load()


def _turn(image: PIL.Image.Image, what: str) -> PIL.Image.Image:
    with _damage_named(what, "decoded"):
        return PIL.ImageOps.exif_transpose(image)


def _open(value, what: str) -> PIL.Image.Image:
    if isinstance(value, PIL.Image.Image):
        return value
    if value is None:
        raise ValueError(f"{what} is missing (None). Filter such rows out first.")
    with _damage_named(what, "opened"):
        return PIL.Image.open(value["path"] if value["bytes"] is None else BytesIO(value["bytes"]))


@contextmanager
def _damage_named(what: str, action: str) -> Iterator[None]:
    try:
        yield
    except (OSError, SyntaxError) as error:  # Pillow calls some damaged files a SyntaxError
        raise ValueError(f"{what} cannot be {action}: {error}. Replace or remove the file.") from error


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
    `IterableDataset` is passed over: [`~rss_hf.data.examples.StreamingSegmentationDataset`] checks its rows.

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
