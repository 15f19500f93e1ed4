"""Mask images as class ids: the modes and palettes that say which class a pixel has."""

from collections.abc import Iterable, Sequence

import numpy as np
import PIL.Image
import PIL.ImageColor

from ..constants import IGNORE_INDEX


def voc_palette(num_colors: int = 256) -> list[tuple[int, int, int]]:
    """The first `num_colors` (at most 256) RGB colours of PASCAL VOC; entry 255 is the void colour (224, 224, 192)."""
    # VOC deals the bits of the class id out to red, green and blue in turn, highest colour bit first.
    return [
        tuple(sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)) for channel in range(3))
        for index in range(num_colors)
    ]


VOC_PALETTE = voc_palette()


def parse_palette(
    palette: Sequence[str | Sequence[int]] | None, num_classes: int | None = None
) -> list[tuple[int, int, int]] | None:
    """
    Checks a palette and gives its colours as RGB triples.

    Args:
        palette (`list[tuple[int, int, int]]` or `list[str]`, *optional*):
            One colour a class: (red, green, blue), each 0 to 255, or what `PIL.ImageColor.getrgb` takes ("#804000").
        num_classes (`int`, *optional*):
            The number of colours there must be.

    Returns:
        `list[tuple[int, int, int]]`, or None where there is no palette.

    Raises:
        `ValueError`: an entry that is no colour, a colour given twice, or another number of colours than of classes.
    """
    if palette is None:
        return None
    colors = [_parse_color(color) for color in palette]
    if num_classes is not None and len(colors) != num_classes:
        raise ValueError(f"palette has {len(colors)} colours for {num_classes} classes. Give one colour a class.")
    twice = sorted({color for color in colors if colors.count(color) > 1})
    if twice:
        raise ValueError(f"palette gives {twice} to more than one class. Give each class a colour of its own.")
    return colors


def _parse_color(color: str | Sequence[int]) -> tuple[int, int, int]:
    try:
        rgb = PIL.ImageColor.getrgb(color) if isinstance(color, str) else tuple(int(channel) for channel in color)
    except (TypeError, ValueError):
        rgb = ()
    if len(rgb) != 3 or not all(0 <= channel <= 255 for channel in rgb):
        raise ValueError(
            f"palette: {color!r} is no colour. Give (red, green, blue), each 0 to 255, or a string like '#804000'."
        )
    return rgb


def mask_to_indices(mask: PIL.Image.Image, palette: Sequence[tuple[int, int, int]] | None, where: str) -> np.ndarray:
    """
    Class ids of a mask image.

    Args:
        mask (`PIL.Image.Image`):
            Mode `P` or `L`: the pixels are the ids. `1`: 0 and 1. `I` and `I;16`: ids too, if all are 0 to 255. `RGB`:
            colours of `palette`.
        palette (`list[tuple[int, int, int]]`, *optional*):
            The RGB colour (0 to 255) of each class; None refuses RGB masks. VOC's colours bring VOC's void colour
            (224, 224, 192) with them, which is 255.
        where (`str`):
            The file or row, for the error.

    Returns:
        `np.ndarray`: (H, W) uint8, class ids and 255 for pixels of no class.

    Raises:
        `ValueError`: another mode, an RGB mask without a palette or with other colours, or values beyond 255.
    """
    if mask.mode in ("P", "L", "1"):
        return np.array(mask, dtype=np.uint8)
    if mask.mode.startswith("I"):
        values = np.asarray(mask)
        if values.min() < 0 or values.max() > IGNORE_INDEX:
            raise ValueError(
                f"{where}: the mask has mode {mask.mode!r} with values {values.min()} to {values.max()}; class ids "
                f"are 0 to 254, and pixels of no class {IGNORE_INDEX}. Save it as an 8-bit PNG (mode L or P) of class "
                "ids."
            )
        return values.astype(np.uint8)
    if mask.mode != "RGB":
        raise ValueError(
            f"{where}: the mask has mode {mask.mode!r}, which does not say the class of a pixel. "
            "Save it as an 8-bit PNG (mode L or P) of class ids."
        )
    if palette is None:
        raise ValueError(
            f"{where}: the mask is RGB, and no palette says which colour is which class. Pass palette, one colour a "
            "class, or save the mask as an 8-bit PNG (mode L or P) of class ids."
        )
    return _colors_to_indices(np.asarray(mask), palette, where)


def _colors_to_indices(mask: np.ndarray, palette: Sequence[tuple[int, int, int]], where: str) -> np.ndarray:
    """Colours (H, W, 3) uint8 as their places in the palette (H, W) uint8."""
    id_of_color = {color: i for i, color in enumerate(palette)}
    if list(palette) == VOC_PALETTE[: len(palette)]:
        id_of_color[VOC_PALETTE[IGNORE_INDEX]] = IGNORE_INDEX
    id_of_code = {(r << 16) + (g << 8) + b: i for (r, g, b), i in id_of_color.items()}
    codes = mask.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
    known = np.array(sorted(id_of_code))
    position = np.searchsorted(known, codes).clip(max=len(known) - 1)
    unknown = codes[known[position] != codes]
    if unknown.size:
        colors = [(int(c) >> 16, int(c) >> 8 & 255, int(c) & 255) for c in np.unique(unknown)]
        raise ValueError(
            f"{where}: the mask is RGB and {len(colors)} of its colours are not in the palette of {len(palette)} "
            f"classes: {colors[:5]}. Correct the palette, or save the mask as an 8-bit PNG (mode L or P) of class ids."
        )
    return np.array([id_of_code[code] for code in known.tolist()], dtype=np.uint8)[position]


def present_ids(indices: np.ndarray) -> np.ndarray:
    """The different ids, ascending, uint8, in a uint8 array of any shape."""
    return np.flatnonzero(np.bincount(indices.ravel(), minlength=256)).astype(np.uint8)


def reduce_ids(indices: np.ndarray) -> np.ndarray:
    """Ids that count from 1 as ids that count from 0, uint8: n becomes n - 1, and 0, which is no class, 255."""
    return np.where(indices == IGNORE_INDEX, IGNORE_INDEX, indices - np.uint8(1)).astype(np.uint8)


def unknown_ids(ids: Iterable[int], num_classes: int, reduce_labels: bool = False) -> list[int]:
    """Those of the ids of mask files that stand for none of the classes, ascending; 255 stands for no class."""
    return sorted(int(i) for i in set(ids) if not (0 <= i < num_classes + reduce_labels or i == IGNORE_INDEX))


def known_ids(num_classes: int, reduce_labels: bool = False) -> str:
    """In words: which ids mask files may hold, and what to do about others."""
    ids = f"{int(reduce_labels)} to {num_classes - 1 + reduce_labels}"
    void = f"0 and {IGNORE_INDEX}" if reduce_labels else f"{IGNORE_INDEX}"
    why = " and do_reduce_labels of the image processor" if reduce_labels else ""
    return (
        f"with {num_classes} classes{why} the ids are {ids}, and {void} for pixels of no class. Pass as many "
        "class_names as the masks have ids, or renumber the masks (and store them without loss, as PNG)."
    )


def refuse_unknown_ids(ids: Iterable[int], num_classes: int, where: str, reduce_labels: bool = False) -> None:
    """Raises `ValueError`, naming them, if any of the ids of mask files stand for none of the classes."""
    if unknown := unknown_ids(ids, num_classes, reduce_labels):
        known = known_ids(num_classes, reduce_labels)
        raise ValueError(f"{where}: {len(unknown)} mask ids without a class, {unknown[:10]}: {known}")


def has_classes(indices: np.ndarray) -> bool:
    """Whether a mask (H, W) uint8 holds another id than 0 and 255."""
    return bool(((indices != 0) & (indices != IGNORE_INDEX)).any())


def is_binary(indices: np.ndarray) -> bool:
    """Whether a mask (H, W) uint8 holds 0 and 255 and no other id: by itself it can be right."""
    return present_ids(indices).tolist() == [0, IGNORE_INDEX]


def binary_masks(what: str) -> str:
    """The sentence that refuses `what`, masks that hold 0 and 255 and no other id."""
    return (
        f"{what} hold only 0 and {IGNORE_INDEX}, and {IGNORE_INDEX} stands for pixels of no class. Store the "
        "foreground of binary masks as 1."
    )
