"""
Rewards: what judges a predicted map, the built-in ones, and a weighted set of them.

A reward is any callable `reward(predictions, references=None, **columns) -> torch.Tensor`:

- `predictions` (N, H, W) int64 class maps;
- `references` (N, H, W) int64 in [0, C) or 255 (void), or None where the data has no masks;
- every other column of the batch by its name, one entry a prediction, and `trainer_state`.

It returns (N,) for an image-level or (N, H, W) for a pixel-level reward, the higher the better, NaN where it does not
apply. It is a black box: never differentiated.
"""

import functools
import importlib
import math
from collections.abc import Callable
from typing import Any

import torch

from ..rewards.confusion import Agreement, RunningCounts, cell_means, reference_histogram, upsample_actions


IOU_OFFSET = 0.05  # under the logarithm: what a class that is not found at all has to gain stays finite
PIXELS_PER_CALL = 2**26  # of class maps shown to a reward at once: 512 MiB of int64; K maps of a batch may be more


class AgreementReward:
    """
    A built-in reward: a `formula` of the [`Agreement`] of predictions with references. Called as any reward; the
    trainer calls `formula` on the cells of the action grid instead, which gives the same numbers.
    """

    def __init__(self, formula: Callable[[Agreement], torch.Tensor]):
        functools.update_wrapper(self, formula)
        self.formula = formula

    def __call__(self, predictions: torch.Tensor, references: torch.Tensor | None = None, **columns) -> torch.Tensor:
        if references is None:
            raise ValueError(f"Reward {self.__name__!r} compares with a reference mask, and the data has none.")
        return self.formula(Agreement.from_maps(predictions, references))


def mean_over(values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Mean over the last dimension of the `values` that are `present`, NaN where none is."""
    return values.where(present, 0).sum(-1) / present.sum(-1)


@AgreementReward
def mean_iou(agreement: Agreement) -> torch.Tensor:
    """Intersection over union, mean over the classes present in the reference: (..., ) in [0, 1]."""
    return mean_over(agreement.intersection / agreement.union, agreement.actual > 0)


@AgreementReward
def mean_iou_union(agreement: Agreement) -> torch.Tensor:
    """
    Intersection over union, mean over the classes present in the reference or the prediction: (..., ) in [0, 1]. It
    punishes the trial of any absent class, which ends exploration early: [`mean_iou`] is the better teacher.
    """
    return mean_over(agreement.intersection / agreement.union, agreement.union > 0)


def log_iou_pseudo_value(agreement: Agreement, pool: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """
    The jackknife's pseudo-value of each map (..., ) in log(IoU + 0.05) of the n images that `pool` makes of this
    process's batch, s + n (s_with - s): s is the score of the other images, s_with that with this map added.
    """
    hits, union, actual = agreement.intersection, agreement.union, agreement.actual
    valid = actual.sum(-1) > 0
    by_sample = (counts.view(-1, *actual.shape) for counts in (hits, union, actual))
    by_image = torch.stack([*(counts.mean(0) for counts in by_sample), valid[:, None].expand(actual.shape)])
    pooled = pool(by_image.sum(1))  # (4, C)
    other_hits, other_union = pooled[:2, None] - by_image[:2]

    def score(hits, union):
        return mean_over(((hits / union).nan_to_num(0) + IOU_OFFSET).log(), pooled[2] > 0)

    others = score(other_hits, other_union)
    return (others + pooled[3, 0] * (score(other_hits + hits, other_union + union) - others)).where(valid, torch.nan)


@AgreementReward
def batch_log_iou(agreement: Agreement) -> torch.Tensor:
    """
    What a map brings to its batch's log(IoU + 0.05), mean over the classes present in the batch's references: (..., ),
    any number. It is the jackknife's pseudo-value ([`log_iou_pseudo_value`]): counts are added over images before they
    are divided, each other image counted with what its maps have on average. In training the batch is that of one
    forward pass on all processes. NaN for an image without a valid pixel.

    It is what evaluation measures, as far as a batch goes: the same pixel counts as much in a small object as in a
    large one, and a class painted into an image that lacks it costs as much as that class has to lose. The logarithm
    lets a class that is hardly found yet gain more than one that is nearly right. The factor n, the number of images,
    gives it the scale of an image's own reward, whatever n is. It is ours, not the paper's.
    """
    return log_iou_pseudo_value(agreement, agreement.sum_processes)


@AgreementReward
def running_log_iou(agreement: Agreement) -> torch.Tensor:
    """
    As [`batch_log_iou`], counted over the batch and, with a weight that falls, the images of earlier batches
    ([`~rss_hf.agreement.RunningCounts`]); outside training over those of the call. What a class is worth then depends
    less on which images share a batch: with few samples and many classes learning is faster for it.
    """
    return log_iou_pseudo_value(agreement, lambda counts: agreement.remember(agreement.sum_processes(counts)))


@AgreementReward
def dice(agreement: Agreement) -> torch.Tensor:
    """Dice coefficient, mean over the classes present in the reference: (..., ) in [0, 1]."""
    total = agreement.union + agreement.intersection
    return mean_over(2 * agreement.intersection / total, agreement.actual > 0)


@AgreementReward
def mean_accuracy(agreement: Agreement) -> torch.Tensor:
    """Fraction of a class's pixels found, mean over the classes present in the reference: (..., ) in [0, 1]."""
    return mean_over(agreement.intersection / agreement.actual, agreement.actual > 0)


@AgreementReward
def pixel_accuracy(agreement: Agreement) -> torch.Tensor:
    """Fraction of the valid pixels that are right: (..., ) in [0, 1]. Alone it teaches the most frequent class."""
    return agreement.hits.sum((-2, -1)) / agreement.actual.sum(-1)


@AgreementReward
def pixel_match(agreement: Agreement) -> torch.Tensor:
    """Pixel-level: the fraction of each cell's valid pixels that are right, (..., h, w) in [0, 1]; NaN on void."""
    return agreement.hits / agreement.valid


REWARDS = {
    r.__name__: r
    for r in (
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


class RewardSet:
    """
    Several rewards and their weights; `counts` is what they remember of earlier batches.

    Args:
        rewards (`list[str | Callable]`): names, dotted paths or callables.
        weights (`list[float]`, *optional*, defaults to 1 each): a weight of 0 logs a reward without training on it.

    Raises:
        ValueError: if there is no reward, two have one name, or the weights are not as many.
    """

    def __init__(self, rewards: list[str | Callable], weights: list[float] | None = None):
        self.rewards = [get_reward(reward) for reward in rewards]
        self.names = [reward_name(reward) for reward in self.rewards]
        self.weights = [1.0] * len(self.rewards) if weights is None else list(weights)
        if not self.rewards or len(set(self.names)) != len(self.names):
            raise ValueError(f"Rewards need distinct names, one at least; got {self.names}.")
        if len(self.weights) != len(self.rewards):
            raise ValueError(f"{len(self.rewards)} rewards {self.names} need as many weights; got {self.weights}.")
        self.counts = RunningCounts()

    @torch.no_grad()
    def __call__(
        self,
        actions: torch.Tensor,
        num_actions: int,
        size: tuple[int, int],
        references: torch.Tensor | None = None,
        **columns: Any,
    ) -> dict[str, torch.Tensor]:
        """
        Every reward of K action maps for each of B images.

        Args:
            actions (`torch.Tensor` of shape `(K, B, h, w)`): int64 in [0, C).
            num_actions (`int`): C.
            size (`tuple[int, int]`): (H, W) of the maps a reward is shown.
            references (`torch.Tensor` of shape `(B, H, W)`, *optional*): int64 in [0, C) or 255.
            columns: tensors or lists of B entries, and `trainer_state`.

        Returns:
            `dict[str, torch.Tensor]`: by name, float32 of shape `(K, B, 1, 1)` or `(K, B, h, w)`, NaN where a reward
            does not apply.

        Raises:
            RuntimeError: if a reward raises, returns another shape, or returns an infinite value; it names the reward.
        """
        num_samples, batch_size, h, w = actions.shape
        on_cells = references is not None and any(isinstance(reward, AgreementReward) for reward in self.rewards)
        if on_cells:
            agreement = Agreement.from_cells(
                actions, reference_histogram(references, (h, w), num_actions), self.counts
            )
        results = {}
        for name, reward in zip(self.names, self.rewards, strict=True):
            if on_cells and isinstance(reward, AgreementReward):
                values = reward.formula(agreement)
            else:
                per_call = max(1, PIXELS_PER_CALL // (batch_size * math.prod(size)))
                parts = actions.split(per_call)
                values = torch.cat([call_black_box(name, reward, part, size, references, columns) for part in parts])
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


def reward_name(reward: Callable) -> str:
    """The name a reward is logged under: its `__name__`, or its class's where it has none."""
    return getattr(reward, "__name__", type(reward).__name__)


def call_black_box(name, reward, actions, size, references, columns) -> torch.Tensor:
    """A reward called on upsampled class maps, its answer checked and brought back to the action grid."""
    num_samples, batch_size, h, w = actions.shape
    n, (height, width) = num_samples * batch_size, size
    repeated = {
        column: repeat_samples(value, num_samples) if column != "trainer_state" else value
        for column, value in columns.items()
    }
    try:
        values = reward(
            upsample_actions(actions, size).flatten(0, 1),
            references=None if references is None else repeat_samples(references, num_samples),
            **repeated,
        )
    except Exception as error:
        raise RuntimeError(f"Reward {name!r} raised {type(error).__name__}: {error}") from error
    expected = f"a tensor of shape ({n},), one number a map, or ({n}, {height}, {width}), one a pixel"
    if not isinstance(values, torch.Tensor):
        raise RuntimeError(f"Reward {name!r} returned a {type(values).__name__}; expected {expected}.")
    if tuple(values.shape) not in ((n,), (n, height, width)):
        raise RuntimeError(f"Reward {name!r} returned shape {tuple(values.shape)}; expected {expected}.")
    values = values.to(actions.device, torch.float32)
    # Asserted on the device: at once on a CPU, without waiting for the value on an accelerator.
    torch._assert_async(
        ~values.isinf().any(), f"Reward {name!r} returned an infinite value; return NaN where it does not apply."
    )
    if values.ndim == 1:
        return values.view(num_samples, batch_size)
    return cell_means(values, (h, w)).view(num_samples, batch_size, h, w)


def repeat_samples(column: Any, num_samples: int) -> Any:
    """A column of B entries, tensor or list, repeated for K samples: K B entries, sample by sample."""
    if isinstance(column, torch.Tensor):
        return column.expand(num_samples, *column.shape).flatten(0, 1)
    return column * num_samples
