"""Local data: two folders of images and masks with equal stems."""

import logging
from pathlib import Path

import datasets

from .columns import EVAL_SPLITS, TRAIN_SPLITS
from .images import IMAGE_SUFFIXES


logger = logging.getLogger(__name__)


def read_folder_pair(name: str) -> datasets.DatasetDict:
    """
    Images and masks of two folders, paired by the stems of their files.

    Args:
        name (`str`):
            `"IMAGES,MASKS"`: two folders, flat or with equal sub-folders named as splits (`train`, `val`, ...).

    Returns:
        `datasets.DatasetDict`: one split a sub-folder, or `train`; columns `id` (the stem), `image` and `mask`, which
        is None for an image without one.

    Raises:
        `FileNotFoundError`: no such folder, a folder without images, or an image without a mask beside a mask without
        an image, whose names are then taken to be wrong.
        `ValueError`: not two folders, or two files of one stem.
    """
    folders = [Path(part.strip()).expanduser() for part in name.split(",")]
    if len(folders) != 2:
        raise ValueError(f"{name!r} names {len(folders)} folders: pass two, 'IMAGES,MASKS'.")
    image_folder, mask_folder = folders
    features = datasets.Features(id=datasets.Value("string"), image=datasets.Image(), mask=datasets.Image())
    splits = datasets.DatasetDict()
    for split in [s for s in (*TRAIN_SPLITS, *EVAL_SPLITS) if (image_folder / s).is_dir()] or [""]:
        images, masks = _files_by_stem(image_folder / split), _files_by_stem(mask_folder / split)
        alone, unused = sorted(images.keys() - masks.keys()), masks.keys() - images.keys()
        if alone and unused:
            raise FileNotFoundError(
                f"{len(alone)} of the {len(images)} images in {image_folder / split} have no mask in "
                f"{mask_folder / split}, first {images[alone[0]]}: a file {alone[0]}.png is expected (equal stems). "
                f"{len(unused)} masks have no image, first {masks[min(unused)]}. Give both of a pair one name."
            )
        if unused:
            logger.warning("%d masks in %s have no image", len(unused), mask_folder / split)
        stems = sorted(images)
        columns = {"id": stems, "image": [images[s] for s in stems], "mask": [masks.get(s) for s in stems]}
        splits[split or "train"] = datasets.Dataset.from_dict(columns, features=features)
    return splits


def _files_by_stem(folder: Path) -> dict[str, str]:
    """The paths of a folder's images by their stems."""
    try:
        return _image_files(folder)
    except PermissionError as error:
        raise PermissionError(f"The folder {folder} may not be read: {error}. Correct its permissions.") from error


def _image_files(folder: Path) -> dict[str, str]:
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
