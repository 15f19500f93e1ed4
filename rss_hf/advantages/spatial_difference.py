"""Pair-wise spatial difference (PSD)."""

import torch

from .base import AdvantageEstimator
from .leave_one_out import subtract_best


def pairwise_spatial_difference(rewards: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """
    PSD: every pair's difference in reward, credited where the pair's actions differ, in units of the noise that so
    many differing sites make: A_k = 1/(K-1) sum_{j != k} (r_k - r_j) / sqrt(|D_kj| / N), where D_kj are the sites at
    which samples k and j differ (reconstruction: the paper's own formula was not available). Without the divisor it is
    [`leave_one_out`], as shown there; with it, it is biased, for |D| depends on the actions.

    Args:
        rewards (`torch.Tensor` of shape `(K, B, 1, 1)` or `(K, B, h, w)`): NaN where none applies.
        actions (`torch.Tensor` of shape `(K, B, h, w)`): int64.

    Returns:
        `torch.Tensor`: like `rewards`, 0 where none applies.
    """
    maps = actions.flatten(2).transpose(0, 1).float()  # (B, K, N)
    differing = torch.cdist(maps, maps, p=0) / maps.shape[-1]  # (B, K, K), fraction of sites
    weights = differing.clamp(min=1 / maps.shape[-1]).rsqrt().double()  # double: autocast leaves it alone
    centred, applies = (part.double() for part in subtract_best(rewards))
    own = torch.einsum("bkj,jbhw->kbhw", weights, applies) * centred
    others = torch.einsum("bkj,jbhw->kbhw", weights, centred)
    return (applies * (own - others) / (applies.sum(0) - 1).clamp(min=1)).to(rewards.dtype)


class PairwiseSpatialDifference(AdvantageEstimator):
    """Every pair's difference in reward, credited where the pair differs: [`pairwise_spatial_difference`]."""

    def advantages(self, rewards: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return pairwise_spatial_difference(rewards, actions)
