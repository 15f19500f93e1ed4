"""Rewards of a single map against brute force, pixel by pixel."""

import math

import pytest
import torch
from helpers.scenes import GRIDS, SIZE, C, batch_of, scene

from rss_hf.policy import upsample_actions
from rss_hf.rewards import REWARDS, ConfusionReward, RewardBatch, WeightedRewards, cell_means, mean_iou, pixel_match


OF_COUNTS = [name for name, reward in REWARDS.items() if isinstance(reward, ConfusionReward)]


def brute_force(name, prediction, reference):
    """One image's score from its definition, pixel by pixel in Python."""
    pairs = [
        (p, r) for p, r in zip(prediction.flatten().tolist(), reference.flatten().tolist(), strict=True) if r != 255
    ]
    if not pairs:
        return math.nan
    if name == "pixel_accuracy":
        return sum(p == r for p, r in pairs) / len(pairs)
    scores = []
    for c in range(C):
        tp = sum(p == r == c for p, r in pairs)
        predicted, actual = sum(p == c for p, _ in pairs), sum(r == c for _, r in pairs)
        if actual == 0 and (name != "mean_iou_union" or predicted == 0):
            continue
        numerator = {"dice": 2 * tp}.get(name, tp)
        denominator = {"dice": predicted + actual, "mean_accuracy": actual}.get(name, predicted + actual - tp)
        scores.append(numerator / denominator)
    return sum(scores) / len(scores)


@pytest.mark.parametrize("name", [name for name in OF_COUNTS if name != "pixel_match" and "log_iou" not in name])
@pytest.mark.parametrize("grid", GRIDS)
def test_rewards_on_cells_equal_brute_force_on_pixels(name, grid):
    actions, references = scene(grid=grid)
    rewards = WeightedRewards([name])(actions, batch_of(references), C)[name]
    assert rewards.shape == (3, 3, 1, 1)
    maps = upsample_actions(actions, SIZE)
    expected = torch.tensor([[brute_force(name, maps[k, b], references[b]) for b in range(3)] for k in range(3)])
    torch.testing.assert_close(rewards[..., 0, 0], expected)
    called = REWARDS[name](maps.flatten(0, 1), references.repeat(3, 1, 1)).view(3, 3)
    torch.testing.assert_close(called, expected)


@pytest.mark.parametrize("grid", GRIDS)
def test_pixel_match_is_the_fraction_of_a_cells_valid_pixels(grid):
    actions, references = scene(grid=grid)
    rewards = WeightedRewards(["pixel_match"])(actions, batch_of(references), C)["pixel_match"]
    maps = upsample_actions(actions, SIZE)
    right = (maps == references).float().masked_fill(references == 255, torch.nan)
    expected = cell_means(right.flatten(0, 1), grid).view(3, 3, *grid)
    torch.testing.assert_close(rewards, expected, equal_nan=True)
    torch.testing.assert_close(pixel_match(maps[0], references), right[0], equal_nan=True)


@pytest.mark.parametrize("name", OF_COUNTS)
def test_void_counts_nowhere(name):
    actions, references = scene(grid=SIZE)
    changed = actions.clone()
    changed[:, references == 255] = (changed[:, references == 255] + 1) % C
    before, after = (WeightedRewards([name])(a, batch_of(references), C)[name] for a in (actions, changed))
    torch.testing.assert_close(before, after, equal_nan=True, rtol=0, atol=0)
    references[1] = 255
    assert WeightedRewards([name])(actions, batch_of(references), C)[name][:, 1].isnan().all()


def test_the_ignore_index_is_the_batchs():
    """-100 counts as void where the batch says so."""
    actions, references = scene()
    as_void = references.where(references != 255, -100)
    inputs = {"pixel_values": torch.zeros(3, 3, *SIZE), "labels": as_void}
    expected = WeightedRewards(["mean_iou"])(actions, batch_of(references), C)["mean_iou"]
    batch = RewardBatch(inputs, ignore_index=-100)
    assert torch.equal(WeightedRewards(["mean_iou"])(actions, batch, C)["mean_iou"], expected)

    def own(predictions, references, **columns):
        return mean_iou(predictions, references) * 2

    torch.testing.assert_close(WeightedRewards(own)(actions, batch, C)["own"], 2 * expected)


def test_a_class_of_a_single_pixel_counts():
    references, predictions = torch.tensor([[[0, 0], [0, 1]]]), torch.tensor([[[0, 0], [1, 1]]])
    expected = {"mean_iou": (2 / 3 + 1 / 2) / 2, "mean_iou_union": (2 / 3 + 1 / 2) / 2}
    expected |= {"dice": (4 / 5 + 2 / 3) / 2, "mean_accuracy": (2 / 3 + 1) / 2, "pixel_accuracy": 3 / 4}
    for name, value in expected.items():
        assert REWARDS[name](predictions, references).item() == pytest.approx(value)
    one_wrong = torch.tensor([[[0, 0], [2, 1]]])  # of a class that the reference lacks
    assert REWARDS["mean_iou_union"](one_wrong, references).item() == pytest.approx((2 / 3 + 1 + 0) / 3)
    nowhere = torch.zeros_like(predictions)  # the greatest class is the reference's
    assert REWARDS["mean_iou"](nowhere, references).item() == pytest.approx((3 / 4 + 0) / 2)
