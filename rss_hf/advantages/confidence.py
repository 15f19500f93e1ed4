"""The confidence penalty: what a policy is sure of counts against its reward."""

import torch


def confidence_penalty(rewards: torch.Tensor, probs: torch.Tensor, coef: float) -> torch.Tensor:
    """
    Rewards minus `coef` times the probability that the policy gave the sampled actions, for an image-level reward
    their mean over sites (ours, not the paper's).

    For `pixel_accuracy` and `pixel_match` that probability is the reward which the policy itself expects. Two things
    follow. Sites that the policy knows no longer add to the differences between samples. And the policy becomes
    calibrated: the expected gradient is that of mean_p(pi(y) - coef/2 sum_c pi(c)^2), with 1 the Brier score, whose
    maximum is the labels' distribution. Above 1 the maximum is that distribution drawn towards the uniform one, with
    the same order of classes.

    Args:
        rewards (`torch.Tensor` of shape `(K, B, 1, 1)` or `(K, B, h, w)`): NaN where none applies.
        probs (`torch.Tensor` of shape `(K, B, h, w)`): in [0, 1], the policy's probability of each sampled action.
        coef (`float`): in units of the reward.

    Returns:
        `torch.Tensor`: like `rewards`.
    """
    is_pixel_level = rewards.shape[2:] != (1, 1)
    return rewards - coef * (probs if is_pixel_level else probs.mean((2, 3), keepdim=True))
