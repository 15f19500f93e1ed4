"""The grid of sites on which actions are taken: its stride (PSR), its cells, and action maps as class maps."""

import math

import torch


def action_grid(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """The grid (h, w) of sites `stride` pixels apart that covers an image of `size` = (H, W) pixels, rounded up."""
    return math.ceil(size[0] / stride), math.ceil(size[1] / stride)


def site_of_pixel(pixels: int, sites: int, device: torch.device) -> torch.Tensor:
    """The site (pixels,) int64 in [0, sites) whose action each pixel of one image side takes."""
    return torch.arange(pixels, device=device) * sites // pixels


def upsample_actions(actions: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Action maps (..., h, w) as class maps (..., H, W) of `size` = (H, W) pixels, by nearest neighbour."""
    rows = site_of_pixel(size[0], actions.shape[-2], actions.device)
    columns = site_of_pixel(size[1], actions.shape[-1], actions.device)
    return actions[..., rows[:, None], columns]


class ProgressiveStrides:
    """
    Progressive scale rewards (PSR): coarse action grids first, finer ones as training goes on (reconstruction: the
    paper's own schedule was not available). On a coarse grid an image-level reward says more about each site; a fine
    one can express more.

    Args:
        strides (`list[int]`): strides of the action grid in pixels, coarse to fine, each above the next.
        warmup (`float`): fraction of training in [0, 1] that the strides before the last share evenly.

    Raises:
        ValueError: if the strides do not descend to at least 1, or `warmup` is outside [0, 1].
    """

    def __init__(self, strides: list[int], warmup: float):
        descending = all(coarse > fine for coarse, fine in zip(strides, strides[1:], strict=False))
        if not strides or min(strides) < 1 or not descending:
            raise ValueError(f"strides must be in pixels, from coarse to fine, as in [16, 8, 4]; got {strides}.")
        if not 0 <= warmup <= 1:
            raise ValueError(f"stride_warmup is a fraction of training in [0, 1], got {warmup}.")
        self.strides, self.warmup = list(strides), warmup

    def stride(self, progress: float) -> int:
        """The stride, in pixels, to act at when `progress`, a fraction in [0, 1], of training is done."""
        stages = len(self.strides) - 1
        stage = int(progress / self.warmup * stages) if progress < self.warmup else stages
        return self.strides[stage]
