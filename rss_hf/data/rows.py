"""A row of a data set, opened: its image and mask in one orientation, or an error that names the row."""

from io import BytesIO

import datasets
import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps
from datasets.utils.file_utils import xopen

from ..constants import IGNORE_INDEX
from .images import named_errors, open_within_bounds, refuse_elongated, to_upright_rgb
from .masks import mask_to_indices, present_ids, reduce_ids, refuse_unknown_ids


def keep_encoded(rows: datasets.Dataset | datasets.IterableDataset) -> datasets.Dataset | datasets.IterableDataset:
    """The same rows with `image` and `mask` as `{"bytes", "path"}`, for [`open_row`] to decode."""
    for column in ("image", "mask"):
        if column in rows.column_names:
            rows = rows.cast_column(column, datasets.Image(decode=False))
    return rows


def file_name(where: str, value: dict | PIL.Image.Image | None) -> str:
    """How errors call an image or a mask of the row `where`: with its file, where the data set kept the name."""
    return f"{where} ({value['path']})" if isinstance(value, dict) and value["path"] else where


def is_missing(value: dict | PIL.Image.Image | None) -> bool:
    """Whether there is no image or mask where a row could have one."""
    return value is None or (isinstance(value, dict) and value["bytes"] is None and value["path"] is None)


def open_row(
    row: dict,
    where: str,
    palette: list[tuple[int, int, int]] | None = None,
    num_classes: int | None = None,
    reduce_labels: bool = False,
) -> tuple[PIL.Image.Image, np.ndarray | None]:
    """
    The image of a row, upright and RGB, and the class ids of its mask in the same orientation.

    A mask of the upright size is taken as it is, after its own EXIF tag if it has one; a mask that has the size in
    which the image is stored only is turned with the image.

    Args:
        row (`dict`):
            `image` and, maybe, `mask`: `{"bytes", "path"}` as [`keep_encoded`] gives, or PIL images.
        where (`str`):
            The row, for the errors, which add the file.
        palette (`list[tuple[int, int, int]]`, *optional*):
            As for [`~rss_hf.data.mask_to_indices`].
        num_classes (`int`, *optional*):
            Where given, ids that are neither below it nor 255 are refused.
        reduce_labels (`bool`, *optional*, defaults to `False`):
            Whether the ids of the file count from 1, and 0 is no class, as in ADE20K: 0 becomes 255 and n becomes
            n - 1.

    Returns:
        `tuple[PIL.Image.Image, np.ndarray | None]`: RGB of (W, H) pixels, and (H, W) uint8, ids and 255 for pixels of
        no class, all of them where `mask` is None; None for a row without a column `mask`.

    Raises:
        `ValueError`: an image or mask that is missing, damaged, too large or of an unsuitable mode, or sizes that
        differ.
    """
    what = f"{file_name(where, row['image'])}: the image"
    stored = _open(row["image"], what)
    with named_errors(what, "decoded"):
        refuse_elongated(stored.size)
        image = to_upright_rgb(stored)
    if "mask" not in row:
        return image, None
    if is_missing(row["mask"]):
        return image, np.full((image.height, image.width), IGNORE_INDEX, np.uint8)
    where = file_name(where, row["mask"])
    mask = turn_with_image(open_mask(row["mask"], where), stored, image.size, where)
    indices = mask_to_indices(mask, palette, where)
    reduced = reduce_ids(indices) if reduce_labels else indices
    if num_classes is not None and ((reduced >= num_classes) & (reduced != IGNORE_INDEX)).any():
        refuse_unknown_ids(present_ids(indices), num_classes, where, reduce_labels)
    return image, reduced


def _open(value: dict | PIL.Image.Image | None, what: str) -> PIL.Image.Image:
    """An image whose header is read and whose pixels, unless it came as an image, are not decoded yet."""
    if isinstance(value, PIL.Image.Image):
        return value
    if is_missing(value):
        raise ValueError(f"{what} is missing (None). Filter such rows out first.")
    with named_errors(what, "opened"):
        if value["bytes"] is not None:
            return open_within_bounds(BytesIO(value["bytes"]))
        if "://" not in value["path"]:
            return open_within_bounds(value["path"])
        with xopen(value["path"], "rb") as remote:
            return open_within_bounds(BytesIO(remote.read()))


def open_mask(value: dict | PIL.Image.Image | None, where: str) -> PIL.Image.Image:
    """The mask of a row, called `where` in errors, decoded and turned as its own EXIF tag says."""
    mask = _open(value, f"{where}: the mask")
    with named_errors(f"{where}: the mask", "decoded"):
        return PIL.ImageOps.exif_transpose(mask)


def turn_with_image(
    mask: PIL.Image.Image, image: PIL.Image.Image, size: tuple[int, int], where: str
) -> PIL.Image.Image:
    """
    The mask in the orientation of the upright image.

    Args:
        mask (`PIL.Image.Image`): of the size of the upright image, or of that in which it is stored.
        image (`PIL.Image.Image`): as it is stored.
        size (`tuple[int, int]`): (W, H) of the upright image.
        where (`str`): what the error calls the two.

    Raises:
        `ValueError`: a mask of another size.
    """
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
