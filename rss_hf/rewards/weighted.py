"""The table of built-in rewards, and several rewards with weights, called on the action maps of a batch."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import torch

from .batch_iou import DecayedCounts, batch_log_iou, running_log_iou
from .confusion import ConfusionCounts, ConfusionReward
from .contract import RewardBatch, call_reward, histogram_of, reward_name
from .segmentation import dice, mean_accuracy, mean_iou, mean_iou_union, pixel_accuracy, pixel_match


REWARDS = {
    reward.__name__: reward
    for reward in (
        mean_iou,
        mean_iou_union,
        batch_log_iou,
        running_log_iou,
        dice,
        mean_accuracy,
        pixel_accuracy,
        pixel_match,
    )
}


def get_reward(reward: str | Callable) -> Callable:
    """
    A reward from its name (`"mean_iou"`), from a dotted path (`"package.module:function"`), or itself.

    Raises:
        ValueError: if no built-in reward has the name, or nothing callable is at the path.
    """
    if not isinstance(reward, str):
        return reward
    if ":" not in reward:
        if reward not in REWARDS:
            raise ValueError(f"No reward named {reward!r}. Use one of {sorted(REWARDS)} or 'package.module:function'.")
        return REWARDS[reward]
    module, _, name = reward.partition(":")
    try:
        function = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise ValueError(f"The reward {reward!r} could not be imported: {error}.") from error
    if not callable(function):
        raise ValueError(f"The reward {reward!r} is a {type(function).__name__}, not a callable.")
    return function


class WeightedRewards:
    """
    Rewards and their weights. Its state, what `running_log_iou` has counted in earlier batches, goes into checkpoints.

    Args:
        rewards (`str`, `Callable` or a list of them): names, dotted paths or callables.
        weights (`list[float]`, *optional*, defaults to 1 each): a weight of 0 logs a reward without training on it.

    Raises:
        ValueError: if there is no reward, two have one name, or the weights are not as many.
    """

    def __init__(self, rewards: str | Callable | list[str | Callable], weights: list[float] | None = None):
        rewards = rewards if isinstance(rewards, list | tuple) else [rewards]
        self.rewards = [get_reward(reward) for reward in rewards]
        self.names = [reward_name(reward) for reward in self.rewards]
        self.weights = [1.0] * len(self.rewards) if weights is None else list(weights)
        if not self.rewards or len(set(self.names)) != len(self.names):
            raise ValueError(f"Rewards need distinct names, one at least; got {self.names}.")
        if len(self.weights) != len(self.rewards):
            raise ValueError(f"{len(self.rewards)} rewards {self.names} need as many weights; got {self.weights}.")
        self.counts = DecayedCounts()

    @torch.no_grad()
    def __call__(
        self, actions: torch.Tensor, batch: RewardBatch, num_classes: int, trainer_state: Any = None
    ) -> dict[str, torch.Tensor]:
        """
        Every reward of K action maps for each of B images.

        Args:
            actions (`torch.Tensor` of shape `(K, B, h, w)`): int64 in [0, C).
            batch ([`RewardBatch`]): of the B images.
            num_classes (`int`): C.
            trainer_state (*optional*): the Trainer's, which rewards are given.

        Returns:
            `dict[str, torch.Tensor]`: by name, float32 of shape `(K, B, 1, 1)` or `(K, B, h, w)`, NaN where a reward
            does not apply.

        Raises:
            RuntimeError: see [`~rss_hf.rewards.call_reward`].
        """
        counts = None
        if any(isinstance(reward, ConfusionReward) for reward in self.rewards):
            histogram = histogram_of(batch, tuple(actions.shape[-2:]), num_classes)
            if histogram is not None:
                counts = ConfusionCounts.from_cells(actions, histogram, self.counts)
        results = {}
        for name, reward in zip(self.names, self.rewards, strict=True):
            if counts is not None and isinstance(reward, ConfusionReward):
                values = reward.formula(counts)
            else:
                values = call_reward(reward, actions, batch, trainer_state)
            results[name] = values if values.ndim == 4 else values[..., None, None]
        return results

    def weight_of(self, *rewards: Callable) -> float:
        """The sum of the weights of these rewards, where they are among the set's."""
        return sum(weight for reward, weight in zip(self.rewards, self.weights, strict=True) if reward in rewards)

    def total(self, rewards: dict[str, torch.Tensor]) -> torch.Tensor:
        """The weighted sum of the rewards that apply, NaN where none does: `(K, B, 1, 1)` or `(K, B, h, w)`."""
        stacked = torch.stack(torch.broadcast_tensors(*rewards.values()))
        weights = stacked.new_tensor(self.weights).view(-1, 1, 1, 1, 1)
        return (stacked * weights).nansum(0).where(~stacked.isnan().all(0), torch.nan)
