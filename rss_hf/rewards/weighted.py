"""The table of built-in rewards, and several rewards with weights, called on the action maps of a batch."""

import functools
import importlib
import inspect
import numbers
import threading
from collections.abc import Callable, Iterable
from typing import Any

import torch

from ..judges import RemoteReward, class_areas, class_tags
from .answers import LARGEST_REWARD
from .batch_iou import DecayedCounts, batch_log_iou, running_log_iou
from .boundary import boundary_f1
from .calls import call_rewards, reward_name
from .confusion import ConfusionCounts, ConfusionReward
from .contract import RewardBatch, RewardContext, histogram_of, requested
from .objects import class_area, object_count
from .segmentation import dice, mean_accuracy, mean_iou, mean_iou_union, pixel_accuracy, pixel_match
from .skeleton import cl_dice


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
        boundary_f1,
        cl_dice,
        object_count,
        class_area,
        class_tags,
        class_areas,
    )
}


def get_reward(reward: str | Callable) -> Callable:
    """
    A reward from its name (`"mean_iou"`), from a dotted path (`"package.module:function"`), from the URL of its server
    ([`~rss_hf.judges.RemoteReward`]), or itself.

    Raises:
        ValueError: if no built-in reward has the name, nothing callable is at the path, or it takes other arguments.
    """
    function = find_reward(reward) if isinstance(reward, str) else reward
    if isinstance(function, type):
        raise ValueError(f"The reward {reward!r} is a class: give an object of it, or a function.")
    if not callable(function):
        raise ValueError(f"The reward {reward!r} is a {type(function).__name__}, not a callable.")
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except ValueError:  # some of C have none
        return function
    try:  # the maps by place and the rest by name; whether the data has these is seen when it is called
        names, _ = requested(function)
        signature.bind(None, **{name: None for name, is_required in names.items() if is_required})
        if "predictions" in names:
            raise TypeError("predictions are not its first argument")
    except TypeError as error:
        raise ValueError(
            f"The reward {reward_name(function)!r} takes {signature} ({error}): define it as (predictions, ...), the "
            "rest being names of columns, references or **columns."
        ) from error
    return function


def find_reward(name: str) -> Any:
    """What is at a name of [`REWARDS`], at a dotted path or behind a URL; a ValueError says why nothing is."""
    if name.startswith(("http://", "https://")):
        return RemoteReward(name)
    if ":" not in name:
        if name not in REWARDS:
            raise ValueError(f"No reward named {name!r}. Use one of {sorted(REWARDS)} or 'package.module:function'.")
        return REWARDS[name]
    module, _, attribute = name.partition(":")
    try:
        return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except (Exception, SystemExit) as error:  # a module may raise anything while it is imported
        raise ValueError(
            f"The reward {name!r} could not be imported: {type(error).__name__}: {error}. A path is "
            "'package.module:function'; the module lies in the folder of the command, or is installed."
        ) from error


class WeightedRewards:
    """
    Rewards and their weights. Its state, what `running_log_iou` has counted in earlier batches, goes into checkpoints.

    Args:
        rewards (`str`, `Callable` or a list of them): names, dotted paths or callables.
        weights (`list[float]`, *optional*, defaults to 1 each): a weight of 0 logs a reward without training on it.
        timeout (`float`, *optional*): seconds that a call of a reward may take before the run ends with an error.

    Raises:
        ValueError: if there is no reward, two have one name, the weights are not as many finite numbers, all of them
            are 0, or the timeout is not above 0.
    """

    def __init__(
        self,
        rewards: str | Callable | list[str | Callable],
        weights: list[float] | None = None,
        timeout: float | None = None,
    ):
        rewards = rewards if isinstance(rewards, list | tuple) else [rewards]
        self.rewards = [get_reward(reward) for reward in rewards]
        self.names = [reward_name(reward) for reward in self.rewards]
        if not self.rewards:
            raise ValueError("reward_funcs is empty: give at least one reward.")
        if len(set(self.names)) != len(self.names):
            raise ValueError(
                f"Rewards need distinct names, to be logged under; got {self.names}. Define each by `def`, or set its "
                "`__name__`."
            )
        self.weights = check_weights(weights, self.names)
        if timeout is not None and not (isinstance(timeout, numbers.Real) and 0 < timeout <= threading.TIMEOUT_MAX):
            raise ValueError(
                f"reward_timeout must be seconds, above 0 and up to {threading.TIMEOUT_MAX:g}; got {timeout!r}."
            )
        self.timeout = timeout
        self.counts = DecayedCounts()

    @property
    def are_built_in(self) -> bool:
        """Whether no reward is a function of the user's or a judge: all are computed on the device."""
        return all(isinstance(reward, ConfusionReward) for reward in self.rewards)

    @torch.no_grad()
    def __call__(
        self,
        actions: torch.Tensor,
        batch: RewardBatch,
        num_classes: int,
        context: RewardContext = RewardContext(),  # noqa: B008, it is frozen
    ) -> dict[str, torch.Tensor]:
        """
        Every reward of K action maps for each of B images.

        Args:
            actions (`torch.Tensor` of shape `(K, B, h, w)`): int64 in [0, C).
            batch ([`RewardBatch`]): of the B images.
            num_classes (`int`): C.
            context ([`~rss_hf.rewards.RewardContext`], *optional*): what else rewards may ask for.

        Returns:
            `dict[str, torch.Tensor]`: by name, float32 of shape `(K, B, 1, 1)` or `(K, B, h, w)`, NaN where a reward
            does not apply.

        Raises:
            RewardError, TimeoutError: see [`~rss_hf.rewards.call_rewards`].
        """
        counts = None
        if any(isinstance(reward, ConfusionReward) for reward in self.rewards):
            histogram = histogram_of(batch, tuple(actions.shape[-2:]), num_classes)
            if histogram is not None:
                counts = ConfusionCounts.from_cells(actions, histogram, self.counts)
        named = dict(zip(self.names, self.rewards, strict=True))
        results = {}
        if counts is not None:
            results |= {n: r.formula(counts) for n, r in named.items() if isinstance(r, ConfusionReward)}
        others = [reward for name, reward in named.items() if name not in results]
        results |= call_rewards(others, actions, batch, context, self.timeout)
        return {n: results[n] if results[n].ndim == 4 else results[n][..., None, None] for n in named}

    def total(self, rewards: dict[str, torch.Tensor]) -> torch.Tensor:
        """
        The weighted sum of the rewards that apply, NaN where none does: `(K, B, 1, 1)` or `(K, B, h, w)`. Those of
        weight 0 take no part.
        """
        trained = [pair for pair in zip(rewards.values(), self.weights, strict=True) if pair[1]]
        stacked = torch.stack(torch.broadcast_tensors(*(values for values, _ in trained)))
        weights = stacked.new_tensor([weight for _, weight in trained]).view(-1, 1, 1, 1, 1)
        total = (stacked * weights).nansum(0).where(~stacked.isnan().all(0), torch.nan)
        torch._assert_async(
            ~(total.abs() > LARGEST_REWARD).any(),
            f"The weighted sum of the rewards {self.names} is beyond ±{LARGEST_REWARD:g}: lower reward_weights="
            f"{self.weights}.",
        )
        return total


def check_weights(weights: list[float] | None, names: list[str]) -> list[float]:
    """One finite number for each of the rewards `names`, 1 each where there are no weights; not all of them are 0."""
    if weights is None:
        return [1.0] * len(names)
    weights = list(weights) if isinstance(weights, Iterable) and not isinstance(weights, str) else [weights]
    if len(weights) != len(names):
        raise ValueError(f"{len(names)} rewards {names} need as many weights; got reward_weights={weights}.")
    for name, weight in zip(names, weights, strict=True):
        if not isinstance(weight, numbers.Real) or not abs(weight) <= LARGEST_REWARD:
            raise ValueError(
                f"reward_weights: the weight of {name!r} must be a number within ±{LARGEST_REWARD:g}, got {weight!r}."
            )
    if not any(weights):
        raise ValueError(f"reward_weights={weights}: with every weight 0 there is nothing to train on.")
    return weights
