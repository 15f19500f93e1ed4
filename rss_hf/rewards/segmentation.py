"""Built-in rewards of a single map: how well it fits its own reference."""

import torch

from .confusion import ConfusionCounts, ConfusionReward, mean_over


@ConfusionReward
def mean_iou(counts: ConfusionCounts) -> torch.Tensor:
    """Intersection over union, mean over the classes present in the reference: (...,) in [0, 1]."""
    return mean_over(counts.intersection / counts.union, counts.reference_area > 0)


@ConfusionReward
def mean_iou_union(counts: ConfusionCounts) -> torch.Tensor:
    """
    Intersection over union, mean over the classes present in the reference or the prediction: (...,) in [0, 1]. It
    punishes the trial of any absent class, which ends exploration early: [`mean_iou`] is the better teacher.
    """
    return mean_over(counts.intersection / counts.union, counts.union > 0)


@ConfusionReward
def dice(counts: ConfusionCounts) -> torch.Tensor:
    """Dice coefficient, mean over the classes present in the reference: (...,) in [0, 1]."""
    total = counts.union + counts.intersection
    return mean_over(2 * counts.intersection / total, counts.reference_area > 0)


@ConfusionReward
def mean_accuracy(counts: ConfusionCounts) -> torch.Tensor:
    """Fraction of a class's pixels found, mean over the classes present in the reference: (...,) in [0, 1]."""
    return mean_over(counts.intersection / counts.reference_area, counts.reference_area > 0)


@ConfusionReward
def pixel_accuracy(counts: ConfusionCounts) -> torch.Tensor:
    """Fraction of the valid pixels that are right: (...,) in [0, 1]. Alone it teaches the most frequent class."""
    return counts.true_positives.sum((-2, -1)) / counts.reference_area.sum(-1)


@ConfusionReward
def pixel_match(counts: ConfusionCounts) -> torch.Tensor:
    """Pixel-level: the fraction of each cell's valid pixels that are right, (..., h, w) in [0, 1]; NaN on void."""
    return counts.true_positives / counts.valid
