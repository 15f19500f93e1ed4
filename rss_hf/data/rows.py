"""A row of a data set, opened: its image and mask in one orientation, or an error that names the row."""

from io import BytesIO

import datasets
import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps
from datasets.utils.file_utils import xopen

from ..constants import IGNORE_INDEX
from .images import named_errors, refuse_32_bit, to_upright_rgb, upright_size
from .masks import mask_to_indices, parse_palette, present_ids, refuse_unknown_ids


def keep_encoded(rows: datasets.Dataset | datasets.IterableDataset) -> datasets.Dataset | datasets.IterableDataset:
    """The same rows with `image` and `mask` as `{"bytes", "path"}`, for [`open_row`] to decode."""
    for column in ("image", "mask"):
        if column in rows.column_names:
            rows = rows.cast_column(column, datasets.Image(decode=False))
    return rows


def row_name(row: dict, index: int, split: str = "") -> str:
    """How errors call a row: its number, its split and, where the data set kept it, the file of its mask or image."""
    name = f"row {index} of split {split!r}" if split else f"row {index}"
    for column in ("mask", "image"):
        value = row.get(column)
        if isinstance(value, dict) and value["path"]:
            return f"{name} ({value['path']})"
    return name


def open_row(
    row: dict, where: str, palette: list[tuple[int, int, int]] | None = None, num_classes: int | None = None
) -> tuple[PIL.Image.Image, np.ndarray | None]:
    """
    The image of a row, upright and RGB, and the class ids of its mask in the same orientation.

    A mask of the upright size is taken as it is, after its own EXIF tag if it has one; a mask that has the size in
    which the image is stored only is turned with the image.

    Args:
        row (`dict`):
            `image` and, maybe, `mask`: `{"bytes", "path"}` as [`keep_encoded`] gives, or PIL images.
        where (`str`):
            The row, for the errors.
        palette (`list[tuple[int, int, int]]`, *optional*):
            As for [`~rss_hf.data.mask_to_indices`].
        num_classes (`int`, *optional*):
            Where given, ids that are neither below it nor 255 are refused.

    Returns:
        `tuple[PIL.Image.Image, np.ndarray | None]`: RGB of (W, H) pixels, and (H, W) uint8, ids and 255 for pixels of
        no class; None for a row without a column `mask`.

    Raises:
        `ValueError`: an image or mask that is missing, damaged or of an unsuitable mode, or sizes that differ.
    """
    stored = _open(row["image"], f"{where}: the image")
    with named_errors(f"{where}: the image", "decoded"):
        image = to_upright_rgb(stored)
    if "mask" not in row:
        return image, None
    mask = _turn_with_image(_open_mask(row, where), stored, image.size, where)
    indices = mask_to_indices(mask, palette, where)
    if num_classes is not None and ((indices >= num_classes) & (indices != IGNORE_INDEX)).any():
        refuse_unknown_ids(present_ids(indices), num_classes, where)
    return image, indices


def _open(value: dict | PIL.Image.Image | None, what: str) -> PIL.Image.Image:
    """An image whose header is read and whose pixels, unless it came as an image, are not decoded yet."""
    if isinstance(value, PIL.Image.Image):
        return value
    if value is None:
        raise ValueError(f"{what} is missing (None). Filter such rows out first.")
    with named_errors(what, "opened"):
        if value["bytes"] is not None:
            return PIL.Image.open(BytesIO(value["bytes"]))
        if "://" not in value["path"]:
            return PIL.Image.open(value["path"])
        with xopen(value["path"], "rb") as remote:
            return PIL.Image.open(BytesIO(remote.read()))


def _open_mask(row: dict, where: str) -> PIL.Image.Image:
    """The mask of a row, decoded and turned as its own EXIF tag says."""
    mask = _open(row["mask"], f"{where}: the mask")
    with named_errors(f"{where}: the mask", "decoded"):
        return PIL.ImageOps.exif_transpose(mask)


def _turn_with_image(
    mask: PIL.Image.Image, image: PIL.Image.Image, size: tuple[int, int], where: str
) -> PIL.Image.Image:
    """The mask in the orientation of the upright image, whose `size` is (W, H); `image` is as it is stored."""
    if mask.size == size:
        return mask
    if mask.size == image.size:
        orientation = PIL.ExifTags.Base.Orientation
        mask.getexif()[orientation] = image.getexif()[orientation]
        return PIL.ImageOps.exif_transpose(mask)
    raise ValueError(
        f"{where}: the image is {size[0]}x{size[1]} pixels and its mask {mask.width}x{mask.height}. "
        "They must be of one size: check that the two belong together, or resize the mask with nearest neighbour."
    )


def check_labels(
    dataset: datasets.Dataset | datasets.IterableDataset,
    num_classes: int,
    split: str,
    palette: list[tuple[int, int, int]] | None = None,
) -> None:
    """
    Reads every mask of a split once, so that a bad one stops the run before training and not in its midst.

    About a thousand masks a second; `datasets` keeps the result, so that the same data set is not read again. An
    `IterableDataset` is passed over: [`~rss_hf.data.StreamingSegmentationDataset`] checks its rows.

    Args:
        dataset (`datasets.Dataset` or `datasets.IterableDataset`):
            With columns `image` and `mask`.
        num_classes (`int`):
            Ids from 0 to `num_classes - 1` and 255 are allowed.
        split (`str`):
            Its name, for the progress bar and the errors.
        palette (`list[tuple[int, int, int]]` or `list[str]`, *optional*):
            The colour of each class, for RGB masks, which are refused without it.

    Raises:
        `ValueError`: ids outside the classes, a mask that has another size than its image or that cannot be read, or
        masks that only hold 0 and 255 (binary masks, whose foreground would be ignored).
    """
    palette = parse_palette(palette, num_classes)
    if isinstance(dataset, datasets.IterableDataset):
        return
    rows = keep_encoded(dataset.select_columns(["image", "mask"]))
    scan = rows.map(
        _read_present_ids,
        with_indices=True,
        fn_kwargs={"split": split, "palette": palette},
        remove_columns=rows.column_names,
        features=datasets.Features(ids=datasets.List(datasets.Value("uint8"))),
        desc=f"Checking the masks of {split}",
    )
    row_of_id = {}
    for index, ids in enumerate(scan["ids"]):
        for i in ids:
            row_of_id.setdefault(i, index)
    unknown = [index for i, index in row_of_id.items() if i >= num_classes and i != IGNORE_INDEX]
    if unknown:
        first = min(unknown)
        refuse_unknown_ids(row_of_id, num_classes, f"split {split!r}, first in {row_name(rows[first], first)}")
    if set(row_of_id) == {0, IGNORE_INDEX}:
        raise ValueError(
            f"split {split!r}: all masks hold only 0 and {IGNORE_INDEX}, and {IGNORE_INDEX} stands for pixels of no "
            "class. Store the foreground of binary masks as 1."
        )


def _read_present_ids(
    row: dict, index: int, split: str, palette: list[tuple[int, int, int]] | None
) -> dict[str, np.ndarray]:
    where = row_name(row, index, split)
    image = _open(row["image"], f"{where}: the image")
    mask = _open_mask(row, where)
    with named_errors(f"{where}: the image", "decoded"):
        refuse_32_bit(image)
        # A mask of the stored size fits, however the image is turned: its pixels need not be decoded to know.
        size = image.size if mask.size == image.size else upright_size(image)
    mask = _turn_with_image(mask, image, size, where)
    return {"ids": present_ids(mask_to_indices(mask, palette, where))}
