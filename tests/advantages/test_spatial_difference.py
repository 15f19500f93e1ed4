"""Pair-wise spatial difference against its formula."""

from itertools import product

import torch

from rss_hf.advantages import pairwise_spatial_difference
from rss_hf.policy import PixelPolicy


def test_psd_against_its_formula():
    actions = PixelPolicy(torch.randn(2, 3, 4, 5)).sample(6)
    rewards = torch.rand(6, 2, 1, 1)
    expected = torch.zeros_like(rewards)
    for k, j in product(range(6), repeat=2):
        if k != j:
            differing = (actions[k] != actions[j]).float().mean((1, 2)).view(2, 1, 1)
            expected[k] += (rewards[k] - rewards[j]) / differing.sqrt() / 5
    torch.testing.assert_close(pairwise_spatial_difference(rewards, actions), expected)
    with torch.autocast("cpu", torch.bfloat16):  # as in a bf16 run: no less exact
        torch.testing.assert_close(pairwise_spatial_difference(rewards, actions), expected)


def test_two_maps_that_differ_at_one_site_or_at_none():
    actions = torch.zeros(2, 2, 4, 5, dtype=torch.int64)
    actions[1, 0, 2, 3] = 1
    rewards = torch.tensor([[1.0, 3.0], [0.0, 0.0]]).view(2, 2, 1, 1)
    got = pairwise_spatial_difference(rewards, actions)
    # No fraction of sites is below one of 20, though nothing differs.
    torch.testing.assert_close(got.flatten(), torch.tensor([1.0, 3.0, -1.0, -3.0]) * 20**0.5)
