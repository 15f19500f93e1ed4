"""Rewards of a map among the others of its batch against their definition."""

import math

import pytest
import torch
from helpers.scenes import GRIDS, SIZE, C, batch_of, scene

from rss_hf.policy import upsample_actions
from rss_hf.rewards import REWARDS, DecayedCounts, WeightedRewards


def log_iou_of(prediction, image, maps, references, earlier=None):
    """
    The pseudo-value of `prediction` in place of all maps (K, B, H, W) of its image, counted by its definition; the
    images of an `earlier` batch (maps, references), shown before this one, count exp(-B / 320) each.
    """
    images = [(1, maps[:, b], references[b]) for b in range(len(references))]
    if earlier is not None:
        images += [
            (math.exp(-len(references) / 320), *pair) for pair in zip(earlier[0].unbind(1), earlier[1], strict=True)
        ]
    present = [c for c in range(C) if any((reference == c).any() for _, _, reference in images)]

    def score(images):
        hits, union = torch.zeros(C), torch.zeros(C)
        for weight, some, reference in images:
            valid = reference != 255
            for c in range(C):
                found, actual = some[:, valid] == c, reference[valid] == c
                hits[c] += weight * (found & actual).sum() / len(some)
                union[c] += weight * (found | actual).sum() / len(some)
        return (hits / union.where(union > 0, 1) + 0.05).log()[present].mean()

    others = images[:image] + images[image + 1 :]
    without = score(others)
    num_images = sum(weight for weight, _, _ in images)
    return without + num_images * (score([*others, (1, prediction[None], references[image])]) - without)


@pytest.mark.parametrize("name", ["batch_log_iou", "running_log_iou"])
@pytest.mark.parametrize("grid", GRIDS)
def test_log_iou_is_the_pseudo_value_of_a_map_among_the_images_counted(grid, name):
    """Of its batch, or in a set that has been shown an earlier batch also of that."""
    rewards_of, earlier = WeightedRewards([name]), None
    for seed, batch_size in ((0, 3), (1, 2)):
        actions, references = scene(seed, batch_size=batch_size, grid=grid)
        maps = upsample_actions(actions, SIZE)
        rewards = rewards_of(actions, batch_of(references), C)[name]
        assert rewards.shape == (3, batch_size, 1, 1)
        expected = [
            [log_iou_of(maps[k, b], b, maps, references, earlier) for b in range(batch_size)] for k in range(3)
        ]
        torch.testing.assert_close(rewards[..., 0, 0], torch.tensor(expected))
        earlier = (maps, references) if name == "running_log_iou" else None
    called = REWARDS[name](maps[0], references)  # a batch of one map an image
    expected = [log_iou_of(maps[0, b], b, maps[:1], references) for b in range(2)]
    torch.testing.assert_close(called, torch.tensor(expected))


def test_batch_log_iou_leaves_out_an_image_without_a_valid_pixel():
    actions, references = scene(grid=(5, 7))
    alone = WeightedRewards(["batch_log_iou"])(actions[:, :2], batch_of(references[:2]), C)["batch_log_iou"]
    references[2] = 255
    rewards = WeightedRewards(["batch_log_iou"])(actions, batch_of(references), C)["batch_log_iou"]
    assert rewards[:, 2].isnan().all()
    torch.testing.assert_close(rewards[:, :2], alone)


@pytest.mark.parametrize("name", ["batch_log_iou", "running_log_iou"])
def test_a_class_and_an_image_of_a_single_pixel_count(name):
    """Of the first image one pixel is valid, and no other image has its class or is given it."""
    references = torch.zeros(2, *SIZE, dtype=torch.int64)
    references[0] = 255
    references[0, 0, 0] = 2
    actions = torch.tensor([[2, 0], [1, 1]]).view(2, 2, 1, 1)
    maps = upsample_actions(actions, SIZE)
    rewards = WeightedRewards([name])(actions, batch_of(references), C)[name]
    expected = [[log_iou_of(maps[k, b], b, maps, references) for b in range(2)] for k in range(2)]
    torch.testing.assert_close(rewards[..., 0, 0], torch.tensor(expected))


def test_decayed_counts_fall_by_the_images_seen_and_are_resumed():
    first, second = torch.tensor([[1.0, 2.0], [4.0, 4.0]]), torch.tensor([[10.0, 0.0], [320.0, 320.0]])
    counts = DecayedCounts()
    assert counts.state_dict() == {} and torch.equal(counts(first), first)
    resumed = DecayedCounts()
    resumed.load_state_dict(counts.state_dict())
    expected = second + first / math.e
    torch.testing.assert_close(resumed(second), expected)
    torch.testing.assert_close(resumed.state_dict()["total"], expected)
    resumed.load_state_dict({})
    assert torch.equal(resumed(first), first)
