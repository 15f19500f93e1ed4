"""Rewards of objects: how many there are of each class, and how large classes are."""

import numpy as np
import torch
from scipy import ndimage

from ..constants import IGNORE_INDEX
from .boundary import _num_classes
from .confusion import mean_over


def object_count(predictions: torch.Tensor, references: torch.Tensor | None) -> torch.Tensor:
    """
    1 - |n - m| / max(n, m), where n and m are the numbers of objects of a class, its 8-connected components, in the
    map and in the reference; mean over the classes in either. Unlabelled pixels are of no class.

    Args:
        predictions (`torch.Tensor` of shape `(N, H, W)`): int64 in [0, C).
        references (`torch.Tensor` of shape `(N, H, W)`): int64 in [0, C), or 255 where unlabelled.

    Returns:
        `torch.Tensor` of shape `(N,)`: float32 in [0, 1], NaN without a labelled pixel.
    """
    return _mean_ratio("object_count", predictions, references, lambda masks: count_components(masks).float())


def class_area(predictions: torch.Tensor, references: torch.Tensor | None) -> torch.Tensor:
    """
    1 - |a - b| / max(a, b), where a and b are the areas of a class in the map and in the reference; mean over the
    classes in either. Arguments and result are those of [`object_count`].
    """
    return _mean_ratio("class_area", predictions, references, lambda masks: masks.sum((1, 2)).float())


def _mean_ratio(name: str, predictions: torch.Tensor, references: torch.Tensor | None, measure) -> torch.Tensor:
    if references is None:
        raise ValueError(f"{name} compares with a reference mask, and the data has none.")
    predictions = predictions.masked_fill(references == IGNORE_INDEX, IGNORE_INDEX)
    classes = range(_num_classes(predictions, references))
    found, true = (torch.stack([measure(maps == c) for c in classes], 1) for maps in (predictions, references))
    larger = torch.maximum(found, true)
    return mean_over(1 - (found - true).abs() / larger.clamp(min=1), larger > 0)


def count_components(masks: torch.Tensor) -> torch.Tensor:
    """The numbers (N,) int64 of 8-connected components of masks (N, H, W) bool. Counted on the CPU."""
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = True  # maps are stacked, and not connected with each other
    numbers, _ = ndimage.label(masks.cpu().numpy(), in_plane)  # 1, 2, ... from the first map to the last
    last = np.maximum.accumulate(numbers.reshape(len(numbers), -1).max(1, initial=0))
    return torch.from_numpy(np.diff(last, prepend=0)).to(masks.device, torch.int64)
