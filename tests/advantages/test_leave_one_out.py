"""Leave-one-out and REINFORCE against enumeration and against every pair written out."""

from itertools import product

import pytest
import torch
from helpers.toy import (
    enumerate_maps,
    expected_reward_gradient,
    reward_of,
    surrogate_gradient,
)

from rss_hf.advantages import action_weights, leave_one_out
from rss_hf.advantages.leave_one_out import Reinforce
from rss_hf.policy import PixelPolicy


@pytest.mark.parametrize("num_samples", [2, 3])
def test_leave_one_out_is_unbiased_exactly(num_samples):
    actions, p = enumerate_maps(num_samples)
    gradient = sum(
        weight * surrogate_gradient(a, leave_one_out(reward_of(a)))
        for weight, a in zip(p, actions.unsqueeze(2).unbind(1), strict=True)
    )
    torch.testing.assert_close(gradient, expected_reward_gradient())


def test_leave_one_out_is_every_pair_credited_where_it_differs():
    actions = PixelPolicy(torch.randn(2, 3, 4, 5)).sample(6)
    rewards = torch.rand(6, 2, 1, 1)
    pairs = torch.zeros(6, 2, 4, 5)
    for i, j in product(range(6), repeat=2):
        pairs[i] += (rewards[i] - rewards[j]) * (actions[i] != actions[j]) / 5
    got, expected = (action_weights(actions, part, 3) * actions.numel() for part in (pairs, leave_one_out(rewards)))
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)


def test_reinforce_credits_the_reward_itself():
    config = Reinforce.make_config(None, num_samples=1, strides=[4], scale_rewards="batch", num_iterations=1)
    rewards = torch.tensor([0.5, torch.nan, -2.0]).view(1, 3, 1, 1)
    got = Reinforce(config, None).advantages(rewards, torch.zeros(1, 3, 2, 2, dtype=torch.int64))
    assert got.flatten().tolist() == [0.5, 0, -2]


def test_a_single_sample_has_no_deviation_of_its_own():
    run = {"strides": [4], "num_iterations": 1}
    for num_samples, scale_rewards in ((1, "batch"), (1, "none"), (2, "group")):
        Reinforce.make_config(None, num_samples=num_samples, scale_rewards=scale_rewards, **run)
    with pytest.raises(ValueError, match="'batch' or 'none'"):
        Reinforce.make_config(None, num_samples=1, scale_rewards="group", **run)
