"""Estimators that keep the judged maps of each image and infer the class of each site from all of their scores."""

import math
from collections.abc import Callable
from typing import Any

import torch

from ...policy import PixelPolicy
from ..base import AdvantageEstimator, EstimatorContext, Progress
from .config import PosteriorConfig, ScorePosteriorConfig
from .expected_iou import expected_iou_advantages
from .gaussian import gaussian_posterior
from .judged_maps import OUTSIDE, JudgedMaps, sites_in_view


class PosteriorEstimator(AdvantageEstimator):
    """
    What [`ScorePosterior`] and [`~rss_hf.advantages.score_posterior.ControlVariate`] share. Batches hold `image_index`
    (B,) int64 and `image_positions` (B, H, W) int64, as a [`~rss_hf.data.SegmentationDataset`] with `positions` gives
    them.
    """

    required_columns = ("image_index", "image_positions")
    config: PosteriorConfig

    def __init__(self, config: PosteriorConfig, context: EstimatorContext):
        super().__init__(config, context)
        self.memory: JudgedMaps | None = None

    @classmethod
    def check(cls, config: Any, num_samples: int, strides: list[int], scale_rewards: str, num_iterations: int):
        if len(strides) != 1:
            raise ValueError(f"{cls.__name__} keeps maps of one grid and needs a single stride, got {strides}.")

    def update_prior(
        self, policy: PixelPolicy, rewards: torch.Tensor, columns: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """The image's site that each cell shows (B, N); the prior becomes the policy's probabilities there."""
        if rewards.shape[2:] != (1, 1):
            raise ValueError(
                f"{type(self).__name__} is for image-level rewards, and one here is pixel-level: set "
                "advantage_estimator='leave_one_out'."
            )
        context, grid = self.context, policy.grid
        site_index = sites_in_view(columns["image_positions"], grid)
        if self.memory is None:
            sizes = (context.num_images, self.config.memory_size, context.num_samples)
            self.memory = JudgedMaps.empty(*sizes, policy.num_actions, grid, rewards.device)
        kept = tuple(self.memory.state["prior_probs"].shape[1:])
        if kept != (policy.num_actions, *grid):
            raise ValueError(
                f"The judged maps of the checkpoint are of (classes, height, width) = {kept} and the policy is of "
                f"{(policy.num_actions, *grid)}: resume with the image size and strides that the run began with."
            )
        self.memory.update_prior(*self._gather(columns["image_index"], site_index, policy.probs.flatten(2)))
        return site_index

    def store_scores(self, columns, actions, site_index, class_values, rewards) -> None:
        """Adds this step's maps (K, B, h, w), with their rewards (K, B, 1, 1), to those that are kept."""
        maps = actions.flatten(2).transpose(0, 1)
        view = (columns["image_index"], maps, site_index, class_values, rewards[..., 0, 0].T)
        self.memory.store_scores(*self._gather(*view))

    def posterior(
        self, policy: PixelPolicy, columns: dict[str, torch.Tensor], site_index: torch.Tensor, progress: Progress
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        From all maps that are kept of the images: the posterior shift and the advantages of each class at each site of
        this view (B, C, h, w), and which sites show the image (B, 1, h, w).
        """
        # One view in each epoch; several processes repeat some images to fill an epoch's last batch.
        counted = progress.epoch is not None and self.context.accelerator.num_processes == 1
        max_views = math.floor(progress.epoch) + 1 if counted else None
        inferred = gaussian_posterior(
            **self.memory.load_views(columns["image_index"], max_views), **self.kernel_settings()
        )
        index = site_index.clamp(min=0)[:, None].expand(-1, policy.num_actions, -1)
        visible = (site_index != OUTSIDE).view(-1, 1, *policy.grid)
        in_view = (part.flatten(2).gather(2, index).view(policy.log_probs.shape) * visible for part in inferred)
        return *in_view, visible

    def kernel_settings(self) -> dict[str, float]:
        """The settings of `gaussian_posterior`."""
        names = ("length_scale", "image_correlation", "score_noise")
        return {name: getattr(self.config, name) for name in names}

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {} if self.memory is None else self.memory.state

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        if not state:
            self.memory = None
            return
        context = self.context
        sizes = (context.num_images, self.config.memory_size, context.num_samples)
        if (kept := tuple(state["scores"].shape)) != sizes:
            raise ValueError(
                f"The checkpoint's judged maps are of (training images, memory_size, num_samples) = {kept}, and this "
                f"run has {sizes}: resume with what the run began with."
            )
        self.memory = JudgedMaps({name: part.to(context.accelerator.device) for name, part in state.items()})

    def _gather(self, *parts: torch.Tensor) -> list[torch.Tensor]:
        return [self.context.accelerator.gather(part.contiguous()) for part in parts]


class ScorePosterior(PosteriorEstimator):
    """
    Draws the policy towards the posterior mean of each site's class, given the scores of all maps of its image that
    are kept ([`~rss_hf.advantages.score_posterior.gaussian.gaussian_posterior`]). With all sites known that is
    cross-entropy. For scores that add up over a map, as `pixel_accuracy` does, and images that come again.
    """

    config_class = ScorePosteriorConfig
    config: ScorePosteriorConfig

    @classmethod
    def check(cls, config, num_samples, strides, scale_rewards, num_iterations):
        super().check(config, num_samples, strides, scale_rewards, num_iterations)
        if scale_rewards != "none":
            raise ValueError(
                f"{cls.__name__} gives advantages in units of probability and needs scale_rewards='none', got "
                f"{scale_rewards!r}."
            )
        if num_iterations != 1:
            raise ValueError(
                f"{cls.__name__} gives weights for the policy that drew the maps and needs num_iterations=1, got "
                f"{num_iterations}."
            )

    def sample(self, policy: PixelPolicy, noise: torch.Tensor, progress: Progress) -> torch.Tensor:
        exponent = self.config.rare_class_exponent
        if exponent and progress.fraction >= self.config.rare_class_start:
            policy = class_balanced(policy, exponent, self.context.sum_processes)
        return policy.inverse_cdf(noise)

    def weights(self, policy, actions, rewards, columns, progress):
        site_index = self.update_prior(policy, rewards, columns)
        class_values = torch.full_like(policy.probs[:, :, 0, 0], self.config.score_range)
        self.store_scores(columns, actions, site_index, class_values, rewards)
        posterior_shift, advantages, visible = self.posterior(policy, columns, site_index, progress)
        self.context.log("advantage_std", advantages.square().mean().sqrt())
        if self.config.expected_iou_coef and progress.fraction >= self.config.expected_iou_start:
            of_iou = expected_iou_advantages(policy.probs, posterior_shift, visible, self.context.sum_processes)
            advantages = advantages + self.config.expected_iou_coef * of_iou
        return advantages / advantages[:, 0].numel()

    def kernel_settings(self) -> dict[str, float]:
        return super().kernel_settings() | {"credit_length_scale": self.config.credit_length_scale}


@torch.no_grad()
def class_balanced(
    policy: PixelPolicy, exponent: float, reduce: Callable[[torch.Tensor], torch.Tensor]
) -> PixelPolicy:
    """
    The policy pi(c) / p(c)^exponent, normalised at each site, where p(c) is the mean of pi(c) over all sites of the
    batch (ours, not the paper's; compare logit adjustment, arXiv 2007.07314). An exponent of 1 draws a class where it
    is likelier than elsewhere, however rare it is.

    Args:
        policy ([`~rss_hf.policy.PixelPolicy`]): pi.
        exponent (`float`): at least 0; 0 is the policy itself.
        reduce (`Callable`): sums a tensor over all processes, as `accelerator.reduce` does.
    """
    frequency = reduce(policy.probs.mean((0, 2, 3)))
    frequency = frequency.clamp(min=torch.finfo(frequency.dtype).tiny)  # of a class that has died out
    return PixelPolicy(policy.log_probs - exponent * frequency.log()[:, None, None])
