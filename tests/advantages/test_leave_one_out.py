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
