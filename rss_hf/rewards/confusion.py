"""
The confusion counts of predicted maps with references, taken on the cells of an action grid.

An action on a cell, upsampled by nearest neighbour, paints the whole cell. Its effect on any confusion count is
therefore known from the histogram of the reference labels under the cell, taken once an image: K samples of N sites
then cost K N look-ups and give exactly what painting and comparing K maps of H W pixels would.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from accelerate.utils import reduce

from ..constants import IGNORE_INDEX
from ..policy import site_of_pixel


def reference_histogram(references: torch.Tensor, grid: tuple[int, int], num_classes: int) -> torch.Tensor:
    """
    How often each class occurs under each cell of an action grid; void is left out. Pixel (y, x) belongs to cell
    (y h // H, x w // W), the cell whose action it takes when an action map is upsampled by nearest neighbour.

    Args:
        references (`torch.Tensor` of shape `(B, H, W)`): int64 in [0, C), 255 where void.
        grid (`tuple[int, int]`): (h, w).
        num_classes (`int`): C.

    Returns:
        `torch.Tensor` of shape `(B, C, h, w)`: float32 counts of pixels.
    """
    batch_size, height, width = references.shape
    h, w = grid
    rows, columns = site_of_pixel(height, h, references.device), site_of_pixel(width, w, references.device)
    cell = rows[:, None] * w + columns  # (H, W)
    valid = references != IGNORE_INDEX
    labels = references.where(valid, 0)
    histogram = torch.zeros(batch_size, num_classes * h * w, device=references.device)
    histogram.scatter_add_(1, (labels * (h * w) + cell).flatten(1), valid.float().flatten(1))
    return histogram.view(batch_size, num_classes, h, w)


def cell_means(values: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Means (N, h, w) of pixel values (N, H, W) over the cells of a grid, NaN left out; NaN where nothing is left."""
    h, w = grid
    rows, columns = (site_of_pixel(s, g, values.device) for s, g in zip(values.shape[-2:], grid, strict=True))
    index = (rows[:, None] * w + columns).flatten().expand(len(values), -1)
    valid = ~values.isnan()
    sums = values.new_zeros(len(values), h * w).scatter_add_(1, index, values.nan_to_num(0).flatten(1))
    counts = values.new_zeros(len(values), h * w).scatter_add_(1, index, valid.float().flatten(1))
    return (sums / counts).view(-1, h, w)


@dataclass(frozen=True)
class ConfusionCounts:
    """
    Confusion counts of predicted maps with their references, cell by cell; a cell may be a pixel. Every built-in
    reward is a function of them, and so costs N sites for a sample on an action grid instead of H W pixels.

    Attributes:
        predictions (`torch.Tensor` of shape `(..., h, w)`): int64, the class of each cell.
        true_positives (`torch.Tensor` of shape `(..., h, w)`): float32, valid pixels of the cell that have this class.
        valid (`torch.Tensor` broadcastable to `(..., h, w)`): float32, pixels of the cell that are not void.
        reference_area (`torch.Tensor` broadcastable to `(..., C)`):
            float32, pixels of each class in the whole reference.
        sum_processes (`Callable`, *optional*): sums a tensor over all processes that have a part of the batch.
        accumulate (`Callable`, *optional*):
            [`~rss_hf.rewards.DecayedCounts`], which adds the counts of earlier batches to this one's.
    """

    predictions: torch.Tensor
    true_positives: torch.Tensor
    valid: torch.Tensor
    reference_area: torch.Tensor
    sum_processes: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.clone
    accumulate: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.clone

    @classmethod
    def from_maps(cls, predictions: torch.Tensor, references: torch.Tensor) -> "ConfusionCounts":
        """Of class maps (N, H, W) int64 with references (N, H, W) int64, 255 where void."""
        valid = references != IGNORE_INDEX
        labels = references.where(valid, 0)
        num_classes = int(torch.maximum(labels.max(), predictions.max())) + 1
        area = torch.zeros(len(references), num_classes, device=references.device)
        area.scatter_add_(1, labels.flatten(1), valid.float().flatten(1))
        return cls(predictions, (valid & (predictions == references)).float(), valid.float(), area)

    @classmethod
    def from_cells(cls, actions: torch.Tensor, histogram: torch.Tensor, accumulate: Callable) -> "ConfusionCounts":
        """
        Of action maps (K, B, h, w) int64 with the references of which `histogram` (B, C, h, w) was taken. They are the
        part of a batch that this process has.
        """
        per_site = actions.flatten(2).permute(1, 2, 0)  # (B, N, K), as they lie in memory
        hits = histogram.flatten(2).transpose(1, 2).gather(2, per_site).permute(2, 0, 1).view(actions.shape)
        area = histogram.sum((2, 3))
        return cls(actions, hits, histogram.sum(1), area, partial(reduce, reduction="sum"), accumulate)

    @cached_property
    def intersection(self) -> torch.Tensor:
        """Pixels of each class that are predicted as it: (..., C), float32."""
        return self._per_class(self.true_positives)

    @cached_property
    def union(self) -> torch.Tensor:
        """Valid pixels that are of each class or predicted as it: (..., C), float32."""
        return self._per_class(self.valid) + self.reference_area - self.intersection

    def _per_class(self, pixels: torch.Tensor) -> torch.Tensor:
        """`pixels` (..., h, w) of the cells, summed over the cells predicted as each class: (..., C)."""
        by_cell = (self.predictions, pixels.expand(self.predictions.shape))
        index, pixels = (values.flatten(-2).movedim(0, -1) for values in by_cell)  # samples last, as in memory
        totals = pixels.new_zeros(*index.shape[:-2], self.reference_area.shape[-1], index.shape[-1])
        return totals.scatter_add_(-2, index, pixels).movedim(-1, 0)


class ConfusionReward:
    """
    A built-in reward: a `formula` of [`ConfusionCounts`]. Called as any reward; training calls `formula` on the cells
    of the action grid instead, which gives the same numbers.
    """

    def __init__(self, formula: Callable[[ConfusionCounts], torch.Tensor]):
        functools.update_wrapper(self, formula)
        self.formula = formula

    def __call__(self, predictions: torch.Tensor, references: torch.Tensor | None = None, **columns) -> torch.Tensor:
        if references is None:
            raise ValueError(f"Reward {self.__name__!r} compares with a reference mask, and the data has none.")
        return self.formula(ConfusionCounts.from_maps(predictions, references))


def mean_over(values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Mean over the last dimension of the `values` that are `present`, NaN where none is."""
    return values.where(present, 0).sum(-1) / present.sum(-1)
