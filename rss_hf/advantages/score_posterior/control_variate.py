"""The posterior as a control variate: the doubly robust estimator of contextual bandits."""

from collections.abc import Callable

import torch

from ...policy import PixelPolicy
from ...rewards import DecayedCounts, batch_log_iou, running_log_iou
from ..base import EstimatorContext, Progress, action_weights
from ..leave_one_out import leave_one_out
from ..normalization import EPSILON
from .config import ControlVariateConfig
from .estimator import PosteriorEstimator
from .expected_iou import expected_counts, iou_class_values, posterior_probs


def control_variate(
    rewards: torch.Tensor, actions: torch.Tensor, probs: torch.Tensor, values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Advantages in two parts: those of the rewards minus what `values` predict of them, by [`leave_one_out`], and those
    of the prediction, exactly. Together they are unbiased whatever the values are, as long as these do not depend on
    the samples; their noise is that of the residual. It is the doubly robust estimator (arXiv 1103.4601).

    Args:
        rewards (`torch.Tensor` of shape `(K, B, 1, 1)`): NaN where none applies.
        actions (`torch.Tensor` of shape `(K, B, h, w)`): int64 in [0, C), drawn from `probs`.
        probs (`torch.Tensor` of shape `(B, C, h, w)`): the policy's.
        values (`torch.Tensor` of shape `(B, C, h, w)`): what each action at each site adds to a map's expected reward.

    Returns:
        `residual_advantages` (K, B, 1, 1), and `exact_advantages` of every action (B, C, h, w), whose mean under the
        policy is 0 at each site; both are 0 for an image of which fewer than two rewards apply.
    """
    judged = ((~rewards.isnan()).sum(0) > 1)[:, None]  # (B, 1, 1, 1)
    predicted = values.expand(len(actions), *values.shape).gather(2, actions[:, :, None]).sum((2, 3, 4))
    residual_advantages = leave_one_out(rewards - predicted[..., None, None])
    return residual_advantages, (values - (probs * values).sum(1, keepdim=True)) * judged


def normalize_parts(
    residual_advantages: torch.Tensor,
    exact_advantages: torch.Tensor,
    rewards: torch.Tensor,
    probs: torch.Tensor,
    scale_rewards: str,
    reduce: Callable[[torch.Tensor], torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Both parts of [`control_variate`] divided by the deviation of their sum: the variance of the predicted rewards of
    an image's maps, known exactly, plus the mean square of the residual over all images and processes, since the few
    samples of one image do not tell it. Images that are not judged are left out of either.

    Args:
        residual_advantages, exact_advantages (`torch.Tensor`): as [`control_variate`] returns them.
        rewards, probs (`torch.Tensor`): as it was given them.
        scale_rewards (`str`): `"group"` for each image's own variance of the prediction, `"batch"` for its mean over
            all images and processes, `"none"` for parts unchanged.
        reduce (`Callable`): sums a tensor over all processes, as `accelerator.reduce` does.
    """
    if scale_rewards == "none":
        return residual_advantages, exact_advantages
    variance = (probs * exact_advantages.square()).sum((1, 2, 3))
    applies = ~rewards.isnan()
    judged = applies.sum(0) > 1
    sums = [residual_advantages.square().sum(), (applies & judged).sum(), variance.sum(), judged.sum()]
    rest, maps, known, images = reduce(torch.stack(sums))
    rest, known = rest / maps.clamp(min=1), known / images.clamp(min=1)
    deviation = ((variance if scale_rewards == "group" else known) + rest).sqrt() + EPSILON
    deviation = deviation.view(-1, 1, 1)
    return residual_advantages / deviation, exact_advantages / deviation[:, None]


class ControlVariate(PosteriorEstimator):
    """
    Leave-one-out of what the posterior did not predict of a map's reward, plus the exact gradient of what it did
    ([`control_variate`]). Unbiased; works with any image-level reward; `explained_variance` is logged.
    """

    config_class = ControlVariateConfig
    config: ControlVariateConfig

    def __init__(self, config: ControlVariateConfig, context: EstimatorContext):
        super().__init__(config, context)
        weights = context.reward_weights
        self.iou_weight = sum(weights.get(reward.__name__, 0) for reward in (batch_log_iou, running_log_iou))
        self.other_weight = sum(weights.values()) - self.iou_weight

    @classmethod
    def check(cls, config, num_samples, strides, scale_rewards, num_iterations):
        super().check(config, num_samples, strides, scale_rewards, num_iterations)
        if scale_rewards == "mean":
            raise ValueError(f"{cls.__name__} needs scale_rewards to be 'batch', 'group' or 'none', got 'mean'.")

    def advantages(self, rewards: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return leave_one_out(rewards)

    def weights(self, policy, actions, rewards, columns, progress):
        shaped = self.shaped_rewards(policy, actions, rewards)
        values = self.predicted_values(policy, actions, rewards, columns, progress)
        residual, exact = control_variate(shaped, actions, policy.probs, values)
        self.context.log("advantage_std", residual.square().mean().sqrt())
        noise, power = residual.square().mean(), leave_one_out(shaped).square().mean()
        self.context.log("explained_variance", (1 - noise / power).where(power > 0, torch.nan))
        scale = (rewards, policy.probs, self.context.scale_rewards, self.context.sum_processes)
        residual, exact = normalize_parts(residual, exact, *scale)
        return action_weights(actions, residual, policy.num_actions) + policy.probs * exact / exact[:, 0].numel()

    def predicted_values(
        self,
        policy: PixelPolicy,
        actions: torch.Tensor,
        rewards: torch.Tensor,
        columns: dict[str, torch.Tensor],
        progress: Progress,
    ) -> torch.Tensor:
        """
        What each class at each site is expected to add to a map's shaped reward (B, C, h, w), from maps of the images
        that were judged before; these are then kept too.
        """
        site_index = self.update_prior(policy, rewards, columns)
        shift, _, visible = self.posterior(policy, columns, site_index, progress)
        iou_value, iou_cost = self.iou_values(policy, shift, visible)
        sites = visible.sum((2, 3)).clamp(min=1)  # (B, 1)
        class_values = sites * iou_value + self.other_weight
        right = (policy.probs + shift).clamp(0, 1)  # made to sum to 1 it would predict less
        values = ((class_values / sites)[..., None, None] * right - iou_cost[:, None, None]) * visible
        costs = (iou_cost[actions] * visible[:, 0]).sum((2, 3), keepdim=True)
        self.store_scores(columns, actions, site_index, class_values, rewards + costs)
        return values - self.config.confidence_penalty_coef * policy.probs / policy.num_sites

    def iou_values(
        self, policy: PixelPolicy, shift: torch.Tensor, visible: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The value and the cost (C,) of a site of each class for the weighted log(IoU), at decayed counts."""
        counts = expected_counts(policy.probs, posterior_probs(policy.probs, shift), visible)
        counts = torch.cat([counts, torch.full_like(counts[:1], len(shift))])
        decayed = DecayedCounts()
        decayed.load_state_dict({"total": self.memory.state["counts"]})
        self.memory.state["counts"] = decayed(self.context.sum_processes(counts))
        intersection, union, images = self.memory.state["counts"]
        return tuple(self.iou_weight * part for part in iou_class_values(intersection / images, union / images))
