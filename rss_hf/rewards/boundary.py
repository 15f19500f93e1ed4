"""A reward of the boundaries between classes."""

import math

import torch
import torch.nn.functional as F

from ..constants import IGNORE_INDEX
from .confusion import mean_over


class BoundaryF1:
    """
    The F-measure of class boundaries (Csurka et al., BMVC 2013): of each class, precision is the fraction of its
    predicted boundary pixels within `tolerance` of one of the reference, recall the reverse, and the reward is the
    mean of 2 P R / (P + R) over the classes that have a boundary in the reference. A boundary pixel has a pixel of
    another class above, below, left or right of it. Unlabelled lines, as VOC draws them around objects, are filled
    from their sides up to `tolerance` + 1 pixels deep; other unlabelled pixels are of no class and make no boundary.

    Args:
        tolerance (`int`, *optional*, defaults to 2): Euclidean distance in pixels, at least 0.

    Raises:
        ValueError: for a tolerance below 0.
    """

    def __init__(self, tolerance: int = 2):
        if tolerance < 0:
            raise ValueError(f"tolerance must be at least 0 pixels, got {tolerance}.")
        self.tolerance = tolerance
        self.__name__ = "boundary_f1"

    def __call__(self, predictions: torch.Tensor, references: torch.Tensor | None) -> torch.Tensor:
        """
        Args:
            predictions (`torch.Tensor` of shape `(N, H, W)`): int64 in [0, C).
            references (`torch.Tensor` of shape `(N, H, W)`): int64 in [0, C), or 255 where unlabelled.

        Returns:
            `torch.Tensor` of shape `(N,)`: float32 in [0, 1], NaN where no class has a boundary in the reference.
        """
        if references is None:
            raise ValueError("boundary_f1 compares with a reference mask, and the data has none.")
        references = fill_lines(references.to(torch.uint8), self.tolerance + 1)
        predictions = predictions.to(torch.uint8).masked_fill(references == IGNORE_INDEX, IGNORE_INDEX)
        scores, present = [], []
        for c in range(_num_classes(predictions, references)):  # class by class, since all at once fill the memory
            found, true = class_boundary(predictions, c), class_boundary(references, c)
            precision = _share(found, dilate(true, self.tolerance))
            recall = _share(true, dilate(found, self.tolerance))
            scores.append((2 * precision * recall / (precision + recall)).nan_to_num(0))
            present.append(true.any(-1).any(-1))
        return mean_over(torch.stack(scores, 1), torch.stack(present, 1))


boundary_f1 = BoundaryF1()


def fill_lines(maps: torch.Tensor, width: int) -> torch.Tensor:
    """
    Maps (N, H, W) whose 255s within `width` pixels of a class are of that class, so that the classes on both sides of
    an unlabelled line meet in it.
    """
    for _ in range(width):
        around = F.pad(maps, (1, 1, 1, 1), value=IGNORE_INDEX)
        for near in (around[:, :-2, 1:-1], around[:, 2:, 1:-1], around[:, 1:-1, :-2], around[:, 1:-1, 2:]):
            maps = maps.where(maps != IGNORE_INDEX, near)
    return maps


def class_boundary(maps: torch.Tensor, c: int) -> torch.Tensor:
    """The pixels (N, H, W) bool of class `c` with a pixel of another class, 255 left out, beside, above or below."""
    of_class, other = maps == c, (maps != c) & (maps != IGNORE_INDEX)
    other = F.pad(other, (1, 1, 1, 1))
    near = other[:, :-2, 1:-1] | other[:, 2:, 1:-1] | other[:, 1:-1, :-2] | other[:, 1:-1, 2:]
    return of_class & near


def dilate(maps: torch.Tensor, radius: int) -> torch.Tensor:
    """The pixels (N, H, W) bool within `radius` of a pixel of `maps`, by Euclidean distance."""
    (h, w), padded = maps.shape[1:], F.pad(maps, (radius, radius, radius, radius))
    widened = [padded[:, :, radius : radius + w]]  # by 0, 1, ..., `radius` pixels to the left and right
    for k in range(1, radius + 1):
        widened.append(widened[-1] | padded[:, :, radius - k :][:, :, :w] | padded[:, :, radius + k :][:, :, :w])
    dilated = torch.zeros_like(maps)
    for dy in range(-radius, radius + 1):
        dilated |= widened[math.isqrt(radius * radius - dy * dy)][:, radius + dy :][:, :h]
    return dilated


def _share(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """The fraction (N,) of the pixels of `part` that are in `whole`, NaN where there is none."""
    return (part & whole).float().sum((1, 2)) / part.float().sum((1, 2))


def _num_classes(predictions: torch.Tensor, references: torch.Tensor) -> int:
    """One more than the greatest class id of either."""
    return int(torch.stack([m.masked_fill(m == IGNORE_INDEX, 0).amax() for m in (predictions, references)]).amax()) + 1
