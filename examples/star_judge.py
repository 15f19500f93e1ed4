"""A coarse judge, as a person who rates whole maps would be: `--reward_funcs examples.star_judge:stars`."""

import torch

from rss_hf import mean_iou


def stars(predictions: torch.Tensor, references: torch.Tensor, **columns) -> torch.Tensor:
    """A full star for every 0.2 of a map's mean IoU: (N,) in {0, 1, ..., 5}."""
    return (5 * mean_iou(predictions, references)).floor()
