"""A judge of one map at a time."""

import threading

import numpy as np
import PIL.Image
import pytest
import torch

from rss_hf.feedback import FeedbackStore
from rss_hf.judges import PerMap, per_map
from rss_hf.rewards import RewardBatch, RewardContext, WeightedRewards


def to_images(pixel_values):
    return [PIL.Image.new("RGB", (6, 4), (10 * i, 0, 0)) for i in range(len(pixel_values))]


def judged(reward, actions, **columns):
    batch = RewardBatch({"pixel_values": torch.zeros(actions.shape[1], 3, 4, 6)} | columns)
    (values,) = WeightedRewards([reward])(actions, batch, 3, RewardContext(to_images=to_images)).values()
    return values[:, :, 0, 0]


@pytest.fixture
def actions():
    return torch.randint(3, (5, 2, 4, 6), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("workers", [1, 4])
def test_it_is_shown_the_image_the_map_and_the_row(actions, workers):
    seen = []

    @per_map(workers=workers)
    def judge(image, class_map, row):
        seen.append((image.getpixel((0, 0))[0], row["tag"], class_map.dtype, class_map.shape))
        class_map[:] = 7  # reaches nothing
        row["tag"] = "changed"
        return None if row["bonus"] > 1.5 else row["bonus"]

    assert judge.__name__ == "judge" and isinstance(judge, PerMap)
    values = judged(judge, actions, tag=["x", "y"], bonus=torch.tensor([1.0, 2.0]))
    assert (values[:, 0] == 1).all() and values[:, 1].isnan().all()
    assert sorted(seen) == sorted([(0, "x", np.uint8, (4, 6))] * 5 + [(10, "y", np.uint8, (4, 6))] * 5)


def test_maps_keep_their_places(actions):
    @per_map
    def share(image, class_map, row):
        return (class_map == 1).mean()

    torch.testing.assert_close(judged(share, actions), (actions == 1).float().mean((2, 3)))


def test_workers_judge_at_once(actions):
    """Each waits for another: one after the other they would never end."""
    barrier = threading.Barrier(2, timeout=20)

    @per_map(workers=2)
    def waits(image, class_map, row):
        barrier.wait()
        return 1.0

    assert (judged(waits, actions) == 1).all()


def test_nothing_is_asked_twice(actions, tmp_path):
    calls = []

    def judge(image, class_map, row):
        calls.append(row["id"])
        return float(class_map.sum())

    def with_store(folder):
        reward = per_map(judge)
        reward.store = FeedbackStore(folder)
        return reward

    actions[1] = actions[0]
    first = with_store(tmp_path)
    values = judged(first, actions, id=["a", "b"])
    assert len(calls) == first.asked == 8  # of the equal maps one of each image
    again = with_store(tmp_path)
    assert torch.equal(judged(again, actions, id=["a", "b"]), values) and len(calls) == 8 and again.asked == 0
    judged(again, actions, id=["a", "other"])  # another image may get another score
    assert len(calls) == 12
    torch.testing.assert_close(values, actions.float().sum((2, 3)))


def test_a_failing_judge_is_named(actions):
    @per_map(workers=2)
    def judge(image, class_map, row):
        raise OSError("disk")

    with pytest.raises(RuntimeError, match="Reward 'judge' raised OSError: disk"):
        judged(judge, actions)
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        per_map(judge, workers=0)
