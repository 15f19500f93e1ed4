"""A reward of the connectivity of thin structures."""

import torch
import torch.nn.functional as F

from ..constants import IGNORE_INDEX
from .boundary import _num_classes
from .confusion import mean_over


NEIGHBOURS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))  # clockwise, from above


def cl_dice(predictions: torch.Tensor, references: torch.Tensor | None) -> torch.Tensor:
    """
    clDice (Shit et al., CVPR 2021, [arXiv 2003.07311](https://huggingface.co/papers/2003.07311)): of each class the
    harmonic mean of the fraction of the predicted skeleton that lies in the reference and of the fraction of the
    reference's skeleton that is predicted; mean over the classes in the reference. Skeletons are exact ([`skeleton`]),
    not soft. Unlabelled pixels are of no class.

    Args:
        predictions (`torch.Tensor` of shape `(N, H, W)`): int64 in [0, C).
        references (`torch.Tensor` of shape `(N, H, W)`): int64 in [0, C), or 255 where unlabelled.

    Returns:
        `torch.Tensor` of shape `(N,)`: float32 in [0, 1], NaN without a labelled pixel.
    """
    if references is None:
        raise ValueError("cl_dice compares with a reference mask, and the data has none.")
    predictions = predictions.masked_fill(references == IGNORE_INDEX, IGNORE_INDEX)
    scores, present = [], []
    for c in range(_num_classes(predictions, references)):
        found, true = predictions == c, references == c
        precision = _inside(skeleton(found), true)
        sensitivity = _inside(skeleton(true), found)
        scores.append((2 * precision * sensitivity / (precision + sensitivity)).nan_to_num(0))
        present.append(true.any(-1).any(-1))
    return mean_over(torch.stack(scores, 1), torch.stack(present, 1))


def skeleton(masks: torch.Tensor) -> torch.Tensor:
    """
    Masks (N, H, W) bool thinned to lines that are 8-connected as the masks are, with as many holes: border pixels of
    one side after the other are taken off where that changes no connection and shortens no end (Rosenfeld, 1975).
    Waits for the device once a round, of which there are half as many as the thickest part has pixels.
    """
    masks = F.pad(masks, (1, 1, 1, 1))
    while True:
        before = masks
        for side in (0, 4, 2, 6):  # above, below, right, left
            ring = torch.stack([masks.roll((-dy, -dx), (1, 2)) for dy, dx in NEIGHBOURS])  # (8, N, H, W)
            outside = ~ring
            runs = [outside[k] & ~(outside[k + 1] & outside[(k + 2) % 8]) for k in (0, 2, 4, 6)]
            is_simple = torch.stack(runs).sum(0) == 1  # Yokoi's number of 8-connected parts around the pixel
            masks = masks & ~(outside[side] & is_simple & (ring.sum(0) >= 2))
        if torch.equal(before, masks):
            return masks[:, 1:-1, 1:-1]


def _inside(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    return (part & whole).float().sum((1, 2)) / part.float().sum((1, 2))
