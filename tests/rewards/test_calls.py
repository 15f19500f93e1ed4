"""How many maps a reward is shown at once, and the seconds that are logged."""

import asyncio
import time

import torch
from helpers.scenes import C, batch_of, scene

from rss_hf.rewards import RewardContext, WeightedRewards, calls


def test_maps_that_are_too_large_for_one_call_come_one_by_one(monkeypatch):
    actions, references = scene(num_samples=4)
    shown = []

    def judge(predictions):
        shown.append(len(predictions))
        return predictions.float().mean((1, 2))

    at_once = WeightedRewards([judge])(actions, batch_of(references), C)
    monkeypatch.setattr(calls, "PIXELS_PER_CALL", 1)
    assert torch.equal(WeightedRewards([judge])(actions, batch_of(references), C)["judge"], at_once["judge"])
    assert shown == [12, 3, 3, 3, 3]


def test_the_seconds_of_each_reward_are_logged(monkeypatch):
    """Two calls of each; of those that are awaited together too, though they take no longer than the slower."""
    actions, references = scene(num_samples=2)
    logged = {}

    def plain(predictions):
        time.sleep(0.02)
        return [0.0] * len(predictions)

    async def slow(predictions):
        await asyncio.sleep(0.04)
        return [1.0] * len(predictions)

    async def quick(predictions):
        return [2.0] * len(predictions)

    monkeypatch.setattr(calls, "PIXELS_PER_CALL", 1)
    start = time.perf_counter()
    context = RewardContext(log_metric=logged.__setitem__)
    rewards = WeightedRewards([plain, slow, quick])(actions, batch_of(references), C, context)
    total = time.perf_counter() - start
    assert [rewards[name].unique().tolist() for name in ("plain", "slow", "quick")] == [[0], [1], [2]]
    plain, slow, quick = (logged[f"reward/{name}/seconds"] for name in ("plain", "slow", "quick"))
    assert 0.04 <= plain < total and 0.08 <= slow < 2 * total and 0 <= quick < total
