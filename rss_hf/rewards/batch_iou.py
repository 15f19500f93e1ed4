"""
Built-in rewards of a map among the others of its batch: what it adds to the log(IoU) that is counted over images.

They read the references of the whole batch, which a judge of a single map could not do.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .confusion import ConfusionCounts, ConfusionReward, mean_over


@dataclass(frozen=True)
class LogIoUSettings:
    """
    Parameters:
        offset (`float`): added to the IoU under the logarithm: what a class that is not found at all can gain stays
            finite.
        decay_images (`float`): counts of an image seen n images ago weigh exp(-n / decay_images). Long enough for
            classes that are rare in a batch, short enough that the policy was much the same.
    """

    offset: float = 0.05
    decay_images: float = 320


class DecayedCounts:
    """
    Counts of the images seen lately, with a weight that falls by [`LogIoUSettings`]' `decay_images`.

    Attributes:
        total (`torch.Tensor` of shape `(R, C)`): float32; None before the first batch.
    """

    def __init__(self, decay_images: float = LogIoUSettings.decay_images):
        self.decay_images = decay_images
        self.total: torch.Tensor | None = None

    def __call__(self, counts: torch.Tensor) -> torch.Tensor:
        """Adds a batch's `counts` (R, C), float, whose last row is the number of its images; returns all (R, C)."""
        if self.total is not None:
            counts = counts + self.total.to(counts.device) * (-counts[-1] / self.decay_images).exp()
        self.total = counts
        return counts

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What a checkpoint keeps; empty before the first batch."""
        return {} if self.total is None else {"total": self.total}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Goes on from [`~DecayedCounts.state_dict`]'s."""
        self.total = state.get("total")


def log_iou_pseudo_value(counts: ConfusionCounts, pool: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """
    The jackknife's pseudo-value of each map (...,) in log(IoU + 0.05) of the n images that `pool` makes of this
    process's batch, s + n (s_with - s): s is the score of the other images, s_with that with this map added.
    """
    hits, union, area = counts.intersection, counts.union, counts.reference_area
    valid = area.sum(-1) > 0
    by_sample = (part.view(-1, *area.shape) for part in (hits, union, area))
    by_image = torch.stack([*(part.mean(0) for part in by_sample), valid[:, None].expand(area.shape)])
    pooled = pool(by_image.sum(1))  # (4, C)
    other_hits, other_union = pooled[:2, None] - by_image[:2]

    def score(hits, union):
        return mean_over(((hits / union).nan_to_num(0) + LogIoUSettings.offset).log(), pooled[2] > 0)

    others = score(other_hits, other_union)
    return (others + pooled[3, 0] * (score(other_hits + hits, other_union + union) - others)).where(valid, torch.nan)


@ConfusionReward
def batch_log_iou(counts: ConfusionCounts) -> torch.Tensor:
    """
    What a map adds to its batch's log(IoU + 0.05), mean over the classes present in the batch's references: (...,),
    any number. It is the jackknife's pseudo-value ([`log_iou_pseudo_value`]): counts are added over images before they
    are divided, each other image counted with what its maps have on average. In training the batch is that of one
    forward pass on all processes. NaN for an image without a valid pixel.

    It is what evaluation measures, as far as a batch goes: the same pixel counts as much in a small object as in a
    large one, and a class painted into an image that lacks it costs as much as that class has to lose. The logarithm
    lets a class that is hardly found yet gain more than one that is nearly right. The factor n, the number of images,
    gives it the scale of an image's own reward, whatever n is. It is ours, not the paper's.
    """
    return log_iou_pseudo_value(counts, counts.sum_processes)


@ConfusionReward
def running_log_iou(counts: ConfusionCounts) -> torch.Tensor:
    """
    As [`batch_log_iou`], counted over the batch and, with a weight that falls, the images of earlier batches
    ([`DecayedCounts`]); outside training over those of the call. The value of a class then depends less on which
    images share a batch: with few samples and many classes learning is faster.
    """
    return log_iou_pseudo_value(counts, lambda part: counts.accumulate(counts.sum_processes(part)))
