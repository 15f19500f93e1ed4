"""
How predicted maps agree with references, counted on the cells of an action grid.

An action on a cell, upsampled by nearest neighbour, paints the whole cell. Its effect on any confusion count is
therefore known from the histogram of the reference labels under the cell, taken once an image: K samples of N sites
then cost K N look-ups and give exactly what painting and comparing K maps of H W pixels would.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
from accelerate.utils import reduce
from safetensors.torch import load_file, save_file


VOID = 255
MEMORY = 320  # images that running counts remember


def cells(pixels: int, sites: int, device: torch.device) -> torch.Tensor:
    """The site (pixels,) int64 in [0, sites) whose action each pixel of one image side takes."""
    return torch.arange(pixels, device=device) * sites // pixels


def upsample_actions(actions: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Action maps (..., h, w) as class maps (..., H, W) of `size` pixels, by nearest neighbour."""
    rows = cells(size[0], actions.shape[-2], actions.device)
    columns = cells(size[1], actions.shape[-1], actions.device)
    return actions[..., rows[:, None], columns]


def reference_histogram(references: torch.Tensor, grid: tuple[int, int], num_actions: int) -> torch.Tensor:
    """
    How often each class occurs under each cell of an action grid; void is left out. Pixel (y, x) belongs to cell
    (y h // H, x w // W), the cell whose action it takes when an action map is upsampled by nearest neighbour.

    Args:
        references (`torch.Tensor` of shape `(B, H, W)`): int64 in [0, C) or 255.
        grid (`tuple[int, int]`): (h, w).
        num_actions (`int`): C.

    Returns:
        `torch.Tensor` of shape `(B, C, h, w)`: float32 counts of pixels.
    """
    batch_size, height, width = references.shape
    h, w = grid
    cell = cells(height, h, references.device)[:, None] * w + cells(width, w, references.device)  # (H, W)
    valid = references != VOID
    labels = references.where(valid, 0)
    histogram = torch.zeros(batch_size, num_actions * h * w, device=references.device)
    histogram.scatter_add_(1, (labels * (h * w) + cell).flatten(1), valid.float().flatten(1))
    return histogram.view(batch_size, num_actions, h, w)


def cell_means(values: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Means (N, h, w) of pixel values (N, H, W) over the cells of a grid, NaN left out; NaN where nothing is left."""
    h, w = grid
    rows, columns = (cells(s, g, values.device) for s, g in zip(values.shape[-2:], grid, strict=True))
    index = (rows[:, None] * w + columns).flatten().expand(len(values), -1)
    valid = ~values.isnan()
    sums = values.new_zeros(len(values), h * w).scatter_add_(1, index, values.nan_to_num(0).flatten(1))
    counts = values.new_zeros(len(values), h * w).scatter_add_(1, index, valid.float().flatten(1))
    return (sums / counts).view(-1, h, w)


class RunningCounts:
    """
    Counts of the images seen lately: one that was seen n images ago counts exp(-n / `MEMORY`). Long enough for classes
    that are rare in a batch, short enough that the policy was much the same.

    Attributes:
        total (`torch.Tensor` of shape `(R, C)`): float; None before the first batch.
    """

    FILE_NAME = "running_counts.safetensors"  # in a checkpoint

    def __init__(self, total: torch.Tensor | None = None):
        self.total = total

    def __call__(self, counts: torch.Tensor) -> torch.Tensor:
        """Adds a batch's `counts` (R, C), float, whose last row is the number of its images; returns all (R, C)."""
        if self.total is not None:
            counts = counts + self.total.to(counts.device) * (-counts[-1] / MEMORY).exp()
        self.total = counts
        return counts

    def save(self, folder: str | Path) -> None:
        """Into a checkpoint's folder, if there is anything to save."""
        if self.total is not None:
            save_file({"total": self.total}, Path(folder, self.FILE_NAME))

    @classmethod
    def load(cls, folder: str | Path) -> "RunningCounts":
        """Those of a checkpoint's folder, or new ones if it has none."""
        counts = cls()
        if (path := Path(folder, cls.FILE_NAME)).is_file():
            counts.total = load_file(path)["total"]
        return counts


@dataclass(frozen=True)
class Agreement:
    """
    How predicted maps agree with their references, cell by cell; a cell may be a pixel. Every built-in reward is a
    function of this, and so costs N sites for a sample on an action grid instead of H W pixels.

    Attributes:
        predictions (`torch.Tensor` of shape `(..., h, w)`): int64, the class of each cell.
        hits (`torch.Tensor` of shape `(..., h, w)`): float32, valid pixels of the cell that have this class.
        valid (`torch.Tensor` broadcastable to `(..., h, w)`): float32, pixels of the cell that are not void.
        actual (`torch.Tensor` broadcastable to `(..., C)`): float32, pixels of each class in the whole reference.
        sum_processes (`Callable`, *optional*): sums a tensor over all processes that have a part of the batch.
        remember (`Callable`, *optional*): [`RunningCounts`], which adds the counts of earlier batches to this one's.
    """

    predictions: torch.Tensor
    hits: torch.Tensor
    valid: torch.Tensor
    actual: torch.Tensor
    sum_processes: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.clone
    remember: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.clone

    @classmethod
    def from_maps(cls, predictions: torch.Tensor, references: torch.Tensor) -> "Agreement":
        """Of class maps (N, H, W) int64 with references (N, H, W) int64 or 255."""
        valid = references != VOID
        labels = references.where(valid, 0)
        num_classes = int(torch.maximum(labels.max(), predictions.max())) + 1
        actual = torch.zeros(len(references), num_classes, device=references.device)
        actual.scatter_add_(1, labels.flatten(1), valid.float().flatten(1))
        return cls(predictions, (valid & (predictions == references)).float(), valid.float(), actual)

    @classmethod
    def from_cells(cls, actions: torch.Tensor, histogram: torch.Tensor, remember: Callable) -> "Agreement":
        """
        Of action maps (K, B, h, w) int64 with the references of which `histogram` (B, C, h, w) was taken. They are the
        part of a batch that this process has.
        """
        by_site = actions.flatten(2).permute(1, 2, 0)  # (B, N, K), as they lie in memory
        hits = histogram.flatten(2).transpose(1, 2).gather(2, by_site).permute(2, 0, 1).view(actions.shape)
        return cls(actions, hits, histogram.sum(1), histogram.sum((2, 3)), partial(reduce, reduction="sum"), remember)

    @cached_property
    def intersection(self) -> torch.Tensor:
        """Pixels of each class that are predicted as it: (..., C), float32."""
        return self._per_class(self.hits)

    @cached_property
    def union(self) -> torch.Tensor:
        """Valid pixels that are of each class or predicted as it: (..., C), float32."""
        return self._per_class(self.valid) + self.actual - self.intersection

    def _per_class(self, pixels: torch.Tensor) -> torch.Tensor:
        """`pixels` (..., h, w) of the cells, summed over the cells predicted as each class: (..., C)."""
        by_cell = (self.predictions, pixels.expand(self.predictions.shape))
        index, pixels = (values.flatten(-2).movedim(0, -1) for values in by_cell)  # samples last, as in memory
        totals = pixels.new_zeros(*index.shape[:-2], self.actual.shape[-1], index.shape[-1])
        return totals.scatter_add_(-2, index, pixels).movedim(-1, 0)
