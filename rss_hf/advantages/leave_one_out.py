"""Leave-one-out, the default, and plain REINFORCE."""

import torch

from .base import AdvantageEstimator


def leave_one_out(rewards: torch.Tensor) -> torch.Tensor:
    """
    Each sample against the mean of the others, A_k = r_k - mean_{j != k} r_j (RLOO, arXiv 2402.14740). Unbiased, with
    no critic. Summed over samples it is every pair's difference, credited where the pair's actions differ, since where
    they agree the credits cancel: (1/K) sum_k A_k s_k = 1/(K(K-1)) sum_{i<j} (r_i - r_j)(s_i - s_j), with s the score
    onehot(a) - pi.

    Args:
        rewards (`torch.Tensor` of shape `(K, B, 1, 1)` or `(K, B, h, w)`): NaN where none applies.

    Returns:
        `torch.Tensor`: like `rewards`. Sums to 0 over samples; exactly 0 where the rewards of all samples are equal.
    """
    centred, applies = subtract_best(rewards)
    n = applies.sum(0)
    advantages = (centred - centred.sum(0) / n) * (n / (n - 1))
    return advantages.where(applies & (n > 1), 0)


def subtract_best(rewards: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Rewards less the best of their image or site, so that differences of equal rewards are exactly 0 in floating point,
    and 0 where none applies; with the mask (bool, same shape) of where they do.
    """
    applies = ~rewards.isnan()
    best = rewards.nan_to_num(-torch.inf).amax(0)
    return (rewards - best).where(applies, 0), applies


class LeaveOneOut(AdvantageEstimator):
    """Each sample's reward against the mean of the other samples of its image: [`leave_one_out`]."""

    def advantages(self, rewards: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return leave_one_out(rewards)


class Reinforce(AdvantageEstimator):
    """The reward itself, without a baseline. The only estimator that works with a single sample."""

    min_samples = 1

    @classmethod
    def check(cls, config, num_samples, strides, scale_rewards, num_iterations):
        super().check(config, num_samples, strides, scale_rewards, num_iterations)
        if num_samples == 1 and scale_rewards == "group":
            raise ValueError(
                "scale_rewards='group' divides by the deviation over an image's samples, and num_samples=1 leaves its "
                "sign alone; use 'batch' or 'none'."
            )

    def advantages(self, rewards: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return rewards.nan_to_num(0)
