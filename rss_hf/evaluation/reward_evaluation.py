"""The rewards of a split: of the most probable maps, which users get, and of drawn maps, which training sees."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn

from ..constants import IGNORE_INDEX
from ..policy import PixelPolicy, action_grid, mix_seeds
from ..rewards import RewardBatch, RewardContext, WeightedRewards
from .predict import predict_maps


class RewardScores:
    """
    Mean rewards of the most probable maps of a split and of maps drawn from the policy, over all processes. Rewards
    are shown maps of the size of the model's input, and references of that size, by nearest neighbour.

    Args:
        model (`nn.Module`): its output has `logits` (B, C, h, w); in eval mode while batches are added.
        rewards ([`~rss_hf.rewards.WeightedRewards`]): none that training uses, since counts are kept in it.
        num_classes (`int`): C.
        accelerator (`Accelerator`): gathers the rewards.
        stride (`int`, *optional*): in pixels, of the action grid that maps are drawn on; without it none are drawn.
        temperature (`float`, *optional*, defaults to 1.0): of the policy that they are drawn from.
        num_samples (`int`, *optional*, defaults to 4): maps drawn for each image.
        seed (`int`, *optional*, defaults to 0): of the drawn maps.
        ignore_index (`int`, *optional*, defaults to 255): the label of void pixels.
        context ([`~rss_hf.rewards.RewardContext`], *optional*): what else rewards may ask for.
    """

    def __init__(
        self,
        model: nn.Module,
        rewards: WeightedRewards,
        num_classes: int,
        accelerator: Accelerator,
        *,
        stride: int | None = None,
        temperature: float = 1.0,
        num_samples: int = 4,
        seed: int = 0,
        ignore_index: int = IGNORE_INDEX,
        context: RewardContext = RewardContext(),  # noqa: B008, it is frozen
    ):
        self.model, self.rewards, self.num_classes, self.accelerator = model, rewards, num_classes, accelerator
        self.stride, self.temperature = stride, temperature
        self.num_samples, self.seed = num_samples, seed
        self.ignore_index, self.context = ignore_index, context
        self.values: dict[str, list[torch.Tensor]] = {}
        self.num_batches = 0

    @torch.no_grad()
    def add(self, inputs: dict[str, Any]) -> None:
        """Adds a batch: `pixel_values` (B, 3, H, W) or a list, maybe `labels` of any size, and other columns."""
        own = [self._scores(part) for part in of_one_size(inputs)]
        for name in own[0]:
            scores = self.accelerator.gather_for_metrics(torch.cat([part[name] for part in own]))
            self.values.setdefault(name, []).append(scores)
        self.num_batches += 1

    def means(self) -> dict[str, float]:
        """
        `reward`, the mean of the weighted sum, and `reward/<name>` of each, of the most probable maps; with a stride
        also `sampled_reward` and `sampled_reward/<name>`. NaN where none applies.
        """
        return {name: torch.cat(parts).nanmean().item() for name, parts in self.values.items()}

    def _scores(self, inputs: dict[str, Any]) -> dict[str, torch.Tensor]:
        """By name, the rewards (B,) of a batch of one size."""
        pixel_values = inputs["pixel_values"]
        batch = RewardBatch(inputs, self.ignore_index)
        greedy = torch.stack(predict_maps(self.model, pixel_values, [batch.size] * len(pixel_values)))
        scores = self._judge("reward", greedy[None], batch)
        if self.stride is not None:
            logits = self.model(pixel_values=pixel_values).logits
            policy = PixelPolicy(logits, action_grid(batch.size, self.stride), self.temperature)
            generator = torch.Generator(policy.log_probs.device).manual_seed(mix_seeds(self.seed, self.num_batches))
            scores |= self._judge("sampled_reward", policy.sample(self.num_samples, generator), batch)
        return scores

    def _judge(self, prefix: str, actions: torch.Tensor, batch: RewardBatch) -> dict[str, torch.Tensor]:
        by_name = self.rewards(actions, batch, self.num_classes, self.context)
        named = {f"{prefix}/{name}": values for name, values in by_name.items()} | {
            prefix: self.rewards.total(by_name)
        }
        return {name: values.nanmean((2, 3)).nanmean(0) for name, values in named.items()}


def of_one_size(inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A batch as batches of images of one size, the labels resized to it by nearest neighbour."""
    pixel_values, labels = inputs["pixel_values"], inputs.get("labels")
    if isinstance(pixel_values, list):
        for i, image in enumerate(pixel_values):
            row = {name: column[i : i + 1] for name, column in inputs.items()}
            yield from of_one_size(row | {"pixel_values": image[None]})
        return
    if labels is not None:
        size = tuple(pixel_values.shape[-2:])
        resized = [F.interpolate(label[None, None].float(), size, mode="nearest")[0, 0].long() for label in labels]
        inputs = inputs | {"labels": torch.stack(resized)}
    yield inputs


@torch.no_grad()
def evaluate_rewards(
    model: nn.Module,
    dataloader: Iterable[dict],
    rewards: WeightedRewards,
    num_classes: int,
    accelerator: Accelerator,
    on_batch: Callable[[dict], None] | None = None,
    **kwargs: Any,
) -> dict[str, float]:
    """
    The [`RewardScores`] of a whole split. Each image is counted once.

    Args:
        model (`nn.Module`): evaluated in eval mode, and returned to its mode.
        dataloader (`Iterable[dict]`): prepared by `accelerator`.
        on_batch (`Callable[[dict], None]`, *optional*): called with each batch.
        rewards, num_classes, accelerator, kwargs: as for [`RewardScores`].

    Returns:
        `dict[str, float]`: [`RewardScores.means`].
    """
    scores = RewardScores(model, rewards, num_classes, accelerator, **kwargs)
    was_training = model.training
    model.eval()
    try:
        for inputs in dataloader:
            scores.add(inputs)
            if on_batch is not None:
                on_batch(inputs)
    finally:
        model.train(was_training)
    return scores.means()
