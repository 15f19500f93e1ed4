"""The critic in training: what it is told of each image, and what it is asked."""

import math
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.data import Dataset
from transformers import TrainerState

from ...advantages.score_posterior.gaussian import VOID_SITE, expected_counts, gaussian_critic, iou_worths, posterior
from ...advantages.score_posterior.judged_maps import MapMemory, find_places
from ...policy.pixel_policy import PixelPolicy
from ...rewards.segmentation import RewardSet, batch_log_iou, running_log_iou
from ...training.rss_config import MEMORIZING, RSSConfig


class ImageCritic:
    """
    Remembers what was judged of each image, on every process what all have seen, for an image meets another process at
    each epoch.

    Batches (`inputs`) hold `image_index` (B,) and `image_positions` (B, H, W), as a
    [`~rss_hf.data.SegmentationDataset`] with `positions` gives them; `actions` (K, B, h, w) are int64 in [0, C),
    `rewards` (K, B, 1, 1) the weighted sum of theirs; `state` is the trainer's.

    Args:
        args (`RSSConfig`): its `credit`, what it says of the critic, `num_samples` and `confidence_coef` are used.
        reward_set (`RewardSet`): what the rewards are made of.
        images (`Dataset`): the training images.
        accelerator (`Accelerator`): of the trainer.
    """

    def __init__(self, args: RSSConfig, reward_set: RewardSet, images: Dataset, accelerator: Accelerator):
        self.args, self.images, self.accelerator = args, images, accelerator
        self.iou_weight = reward_set.weight_of(batch_log_iou, running_log_iou)
        self.other_weight = sum(reward_set.weights) - self.iou_weight
        self.memory: MapMemory | None = None

    def gain(
        self,
        policy: PixelPolicy,
        actions: torch.Tensor,
        rewards: torch.Tensor,
        inputs: dict[str, Any],
        state: TrainerState,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        From all maps of the images that were judged, these among them: what each class at each site gains in
        probability and what of it is to be taught (B, C, h, w), and which sites show the image (B, 1, h, w).
        """
        places = self._look(policy, rewards, inputs)
        worths = torch.full_like(policy.probs[:, :, 0, 0], self.args.confidence_coef)
        self._remember(inputs, actions, places, worths, rewards)
        return self._infer(policy, places, inputs, state)

    def values(
        self,
        policy: PixelPolicy,
        actions: torch.Tensor,
        rewards: torch.Tensor,
        inputs: dict[str, Any],
        state: TrainerState,
    ) -> torch.Tensor:
        """
        What each class at each site is expected to add to a map's reward, less confidence (B, C, h, w), from maps of
        the images that were judged before; these are then remembered too.
        """
        places = self._look(policy, rewards, inputs)
        gain, _, visible = self._infer(policy, places, inputs, state)
        counts = expected_counts(policy.probs, posterior(policy.probs, gain), visible)
        counts = torch.cat([counts, torch.full_like(counts[:1], len(gain))])
        intersection, union, images = self.memory.count(self.accelerator.reduce(counts, reduction="sum"))
        iou_worth, iou_cost = (self.iou_weight * part for part in iou_worths(intersection / images, union / images))
        sites = visible.sum((2, 3)).clamp(min=1)  # (B, 1)
        worths = sites * iou_worth + self.other_weight
        right = (policy.probs + gain).clamp(0, 1)  # made to sum to 1 it would foresee less
        values = ((worths / sites)[..., None, None] * right - iou_cost[:, None, None]) * visible
        costs = (iou_cost[actions] * visible[:, 0]).sum((2, 3), keepdim=True)
        self._remember(inputs, actions, places, worths, rewards + costs)
        return values - self.args.confidence_coef * policy.probs / math.prod(policy.grid)

    def save(self, folder: str | Path) -> None:
        """Into a checkpoint's folder, if there is anything to save."""
        if self.memory is not None:
            self.memory.save(folder)

    def load(self, folder: str | Path | None) -> None:
        """What a checkpoint's folder has, or, where it is None or has nothing, forgets all."""
        remembers = folder is not None and self.args.credit in MEMORIZING
        self.memory = MapMemory.load(folder, *self._size(), self.accelerator.device) if remembers else None

    def _look(self, policy: PixelPolicy, rewards: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        """The image's site that each cell shows (B, N); the memory takes over the policy's beliefs about them."""
        credit = self.args.credit
        if missing := {"image_index", "image_positions"} - set(inputs):
            raise ValueError(
                f"credit={credit!r} remembers images: the batch lacks {sorted(missing)}. Give the trainer a "
                "SegmentationDataset(..., positions=True), or set credit='leave_one_out'."
            )
        if rewards.shape[2:] != (1, 1):
            raise ValueError(f"credit={credit!r} is for image-level rewards; a pixel-level one needs no critic.")
        places = find_places(inputs["image_positions"], policy.grid)
        if self.memory is None:
            self.memory = MapMemory.empty(*self._size(), policy.num_actions, policy.grid, rewards.device)
        self.memory.see(*self._gather(inputs["image_index"], places, policy.probs.flatten(2)))
        return places

    def _remember(self, inputs, actions, places, worths, rewards) -> None:
        visit = (inputs["image_index"], actions.flatten(2).transpose(0, 1), places, worths, rewards[..., 0, 0].T)
        self.memory.write(*self._gather(*visit))

    def _infer(self, policy, places, inputs, state) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As `gain`, from what is remembered."""
        progress = state.global_step / max(state.max_steps, 1)
        early, late = self.args.critic_reach[0], self.args.critic_reach[-1]
        reach = early + (late - early) * min(max(4 * progress - 1, 0), 1)  # it goes over in the second quarter
        # one in each epoch, but that several processes even out its last batch with some images once more
        counted = state.epoch is not None and self.accelerator.num_processes == 1
        visits = math.floor(state.epoch) + 1 if counted else None
        judged = self.memory.read(inputs["image_index"], visits)
        inferred = gaussian_critic(
            **judged, reach=reach, shared=self.args.critic_shared, credit_reach=self.args.credit_reach
        )
        index = places.clamp(min=0)[:, None].expand(-1, policy.num_actions, -1)
        visible = (places != VOID_SITE).view(-1, 1, *policy.grid)
        in_view = (part.flatten(2).gather(2, index).view(policy.log_probs.shape) * visible for part in inferred)
        return *in_view, visible

    def _gather(self, *parts: torch.Tensor) -> list[torch.Tensor]:
        return [self.accelerator.gather(part.contiguous()) for part in parts]

    def _size(self) -> tuple[int, int, int]:
        return len(self.images), self.args.critic_visits, self.args.num_samples
