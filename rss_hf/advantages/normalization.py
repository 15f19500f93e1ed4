"""The scale of advantages: SyncAN and the other choices of `scale_rewards`."""

from collections.abc import Callable

import torch


SCALE_REWARDS = ("batch", "group", "mean", "none")
EPSILON = 1e-6  # added to a standard deviation before dividing by it, in units of the reward


def normalize(
    advantages: torch.Tensor, rewards: torch.Tensor, scale_rewards: str, reduce: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """
    Advantages divided by a scale that a step size can rely on.

    Args:
        advantages (`torch.Tensor` of shape `(K, B, 1, 1)` or `(K, B, h, w)`): float, 0 where no reward applies.
        rewards (`torch.Tensor`): those the advantages were made of, NaN where none applies.
        scale_rewards (`str`):
            - `"batch"`: SyncAN, divided by one root mean square over samples, sites, images and all processes
              (reconstruction: the paper's own formula was not available).
            - `"group"`: divided by the root mean square over the samples that were compared: those of an image for
              an image-level reward, as in GRPO, those of a site for a pixel-level one.
            - `"mean"`: divided by the mean reward of those samples, for rewards that are at least 0. The expected
              gradient is then that of the logarithm of the expected reward, up to the order K of its series: for a
              pixel-level reward of 0 or 1 that is the gradient of cross-entropy.
            - `"none"`: advantages unchanged.
        reduce (`Callable`): sums a tensor over all processes, as `accelerator.reduce` does.

    Returns:
        `torch.Tensor`: like `advantages`; all 0 where they were.

    Raises:
        RuntimeError: if `scale_rewards` is `"mean"` and a reward is below 0.
    """
    if scale_rewards == "none":
        return advantages
    if scale_rewards == "mean":
        torch._assert_async(
            ~(rewards < 0).any(), "scale_rewards='mean' divides by the mean reward: rewards must be >= 0."
        )
        return advantages / (rewards.nanmean(0).nan_to_num(0) + EPSILON)
    applies = (~rewards.isnan()).expand(advantages.shape)
    of_group = (0, 2, 3) if rewards.shape[2:] == (1, 1) else (0,)
    dims = (0, 1, 2, 3) if scale_rewards == "batch" else of_group
    moments = torch.stack([advantages.square().sum(dims, keepdim=True), applies.sum(dims, keepdim=True)])
    if scale_rewards == "batch":
        moments = reduce(moments)
    deviation = (moments[0] / moments[1].clamp(min=1)).sqrt()
    return advantages / (deviation + EPSILON)
