"""Samples of a batch with what they earned, kept for several steps, and the order of rows that goes with them."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch.utils.data import Sampler

from ..advantages import AdvantageEstimator
from ..policy import mix_seeds


@dataclass(frozen=True)
class Rollout:
    """
    The samples of a batch and what they earned when they were drawn.

    Attributes:
        log_probs (`torch.Tensor` of shape `(B, C, h, w)`): of the policy that drew them.
        actions (`torch.Tensor` of shape `(K, B, h, w)`): int64 action maps.
        rewards (`torch.Tensor` of shape `(K, B, 1, 1)` or `(K, B, h, w)`): the weighted sum, NaN where none applies.
        weights (`torch.Tensor` of shape `(B, C, h, w)`): what each action at each site earned.
        estimator ([`~rss_hf.advantages.AdvantageEstimator`]): that made the weights.
        has_answers (`bool`): whether any map on any process got a reward.
        is_reused (`bool`): whether an earlier step was taken on it.
    """

    log_probs: torch.Tensor
    actions: torch.Tensor
    rewards: torch.Tensor
    weights: torch.Tensor
    estimator: AdvantageEstimator
    has_answers: bool = True
    is_reused: bool = False

    @cached_property
    def is_answered(self) -> torch.Tensor:
        """Whether any map of an image got a reward: (B,) bool."""
        return ~self.rewards.isnan().flatten(2).all(2).all(0)

    @property
    def is_pixel_level(self) -> bool:
        """Whether rewards have a value for each site."""
        return self.rewards.shape[2:] != (1, 1)


class Rollouts:
    """
    The rollouts of one batch, one for each accumulation step, which serve `num_iterations` steps in a row.

    Args:
        num_iterations (`int`): steps for each batch.
        accumulation_steps (`int`): rollouts of a batch.

    Attributes:
        unanswered (`int`): rollouts without an answer since the last one with any.
    """

    def __init__(self, num_iterations: int, accumulation_steps: int):
        self.num_iterations = num_iterations
        self._kept: deque[Rollout] = deque(maxlen=accumulation_steps)
        self._answers: deque[bool] = deque(maxlen=accumulation_steps)
        self.unanswered = 0

    def first_step(self, step: int) -> int:
        """The step at which the samples that `step` trains on were drawn."""
        return step - step % self.num_iterations

    def current(self, step: int) -> Rollout | None:
        """The rollout to go on with at `step`, or None where samples are to be drawn."""
        if step == self.first_step(step) or len(self._kept) < self._kept.maxlen:
            return None
        self._kept.rotate(-1)
        return self._kept[-1]

    @property
    def have_answers(self) -> bool:
        """Whether any of the last rollouts, one for each accumulation step, has answers."""
        return any(self._answers)

    def store(self, rollout: Rollout) -> Rollout:
        """Keeps a new rollout for the later steps on its batch, and returns it."""
        self._answers.append(rollout.has_answers)
        self.unanswered = 0 if rollout.has_answers else self.unanswered + 1
        if self.num_iterations > 1:
            self._kept.append(replace(rollout, is_reused=True))
        return rollout


class RepeatSampler(Sampler[int]):
    """
    Row numbers in a random order of (`seed`, epoch), `chunk_size` at a time, each chunk `repeats` times in a row. Rows
    that fill no whole chunk are left out of the epoch; another epoch leaves out others.

    Args:
        num_rows (`int`): rows of the data set.
        chunk_size (`int`): rows of one step on all processes.
        repeats (`int`): steps for each chunk.
        seed (`int`): of the order.

    Raises:
        ValueError: if the rows do not fill one chunk.
    """

    def __init__(self, num_rows: int, chunk_size: int, repeats: int, seed: int):
        if num_rows < chunk_size:
            raise ValueError(
                f"num_iterations={repeats} needs one whole batch of training images at least: a step takes "
                f"{chunk_size}, the training set has {num_rows}."
            )
        self.num_rows, self.chunk_size, self.repeats, self.seed = num_rows, chunk_size, repeats, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of that epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_rows // self.chunk_size * self.chunk_size * self.repeats

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(mix_seeds(self.seed, self.epoch))
        order = torch.randperm(self.num_rows, generator=generator)
        chunks = order[: self.num_rows // self.chunk_size * self.chunk_size].view(-1, 1, self.chunk_size)
        yield from chunks.expand(-1, self.repeats, -1).flatten().tolist()
