"""Rewards of objects: how many there are of each class, and how large classes are."""

import torch
import torch.nn.functional as F

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
    """
    The numbers (N,) int64 of 8-connected components of masks (N, H, W) bool. Each pixel takes the greatest number of
    its neighbourhood until none changes, jumping along the numbers that it took. Waits for the device once a round.
    """
    n, h, w = masks.shape
    own = torch.arange(1, h * w + 1, device=masks.device).view(h, w).expand(n, h, w)
    labels = own * masks
    while True:
        padded = F.pad(labels, (1, 1, 1, 1))
        windows = [padded[:, dy : dy + h, dx : dx + w] for dy in range(3) for dx in range(3)]
        grown = torch.stack(windows).amax(0) * masks
        for _ in range(2):  # a pixel's number is a pixel of its component: take that pixel's number
            flat = F.pad(grown.flatten(1), (1, 0))  # number 0 is outside
            grown = flat.gather(1, grown.flatten(1)).view(n, h, w)
        if torch.equal(grown, labels):
            return ((labels == own) & masks).sum((1, 2))
        labels = grown
