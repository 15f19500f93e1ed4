"""Rewards tried once before training: what is wrong with one is said before any time is spent."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch

from ..data import check_batch
from ..judges import Judge
from ..policy import action_grid
from ..rewards import RewardBatch, RewardContext, WeightedRewards


@torch.no_grad()
def try_rewards(
    rewards: WeightedRewards,
    dataset: Any,
    collate: Callable[[list[dict]], dict[str, Any]],
    *,
    stride: int,
    num_classes: int,
    ignore_index: int,
    device: torch.device,
    context: RewardContext,
) -> None:
    """
    Calls rewards on two random maps of each of the first two examples. Judges, who may cost, are left out. No random
    state is changed, and no count that a reward keeps.

    Args:
        rewards ([`~rss_hf.rewards.WeightedRewards`]): those of training.
        dataset: examples of training.
        collate (`Callable`): makes a batch of them.
        stride (`int`): in pixels, of the maps' action grid.
        num_classes, ignore_index (`int`): of the model.
        device (`torch.device`): of training.
        context ([`~rss_hf.rewards.RewardContext`]): what rewards may ask for.

    Raises:
        ValueError: what [`~rss_hf.data.check_batch`] refuses.
        RewardError, TimeoutError: as in training, see [`~rss_hf.rewards.call_rewards`].
    """
    tried = [reward for reward in rewards.rewards if not isinstance(reward, Judge)]
    if not tried:
        return
    with no_random_state():
        inputs = collate(list(islice(iter(dataset), 2)))
    check_batch(inputs, num_classes, ignore_index)
    on_device = {n: c.to(device) if isinstance(c, torch.Tensor) else c for n, c in inputs.items()}
    batch = RewardBatch(on_device, ignore_index)
    size = (2, len(inputs["pixel_values"]), *action_grid(batch.size, stride))
    actions = torch.randint(num_classes, size, generator=torch.Generator().manual_seed(0)).to(device)
    WeightedRewards(tried, None, rewards.timeout)(actions, batch, num_classes, context)


@contextmanager
def no_random_state() -> Iterator[None]:
    """Leaves the random states of Python, NumPy and PyTorch's CPU as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
