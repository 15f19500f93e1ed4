"""The table of rewards, finding them, and their weighted sum."""

import pytest
import torch

from rss_hf.rewards import REWARDS, WeightedRewards, get_reward


def test_the_total_is_the_weighted_sum_of_what_applies():
    rewards = {
        "image": torch.tensor([1.0, torch.nan]).view(1, 2, 1, 1),
        "pixel": torch.tensor([[2.0, torch.nan], [torch.nan, torch.nan]]).view(1, 2, 1, 2),
    }
    total = WeightedRewards(["dice", "pixel_match"], [3.0, 0.5]).total(rewards)
    expected = torch.tensor([[4.0, 3.0], [torch.nan, torch.nan]]).view(1, 2, 1, 2)
    torch.testing.assert_close(total, expected, equal_nan=True)


def test_finding_rewards():
    assert get_reward("mean_iou") is REWARDS["mean_iou"]
    assert get_reward("rss_hf.rewards:dice") is REWARDS["dice"]
    for name, message in {
        "mean_iuo": "No reward named 'mean_iuo'",
        "no_such_module:reward": "could not be imported",
        "rss_hf.rewards:no_such": "could not be imported",
        "rss_hf.constants:IGNORE_INDEX": "is a int, not a callable",
    }.items():
        with pytest.raises(ValueError, match=message):
            get_reward(name)
    for one in ("dice", REWARDS["dice"]):
        assert WeightedRewards(one).names == ["dice"]
    with pytest.raises(ValueError, match="distinct names"):
        WeightedRewards(["dice", "dice"])
    with pytest.raises(ValueError, match="as many weights"):
        WeightedRewards(["dice"], [1.0, 2.0])
