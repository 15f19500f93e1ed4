import pytest
import torch
from torch.distributions import Categorical

from rss_hf import PixelPolicy


def random_policy(shape=(2, 5, 3, 4), grid=None, seed=0):
    return PixelPolicy(2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)), grid)


def test_log_prob_and_entropy_are_those_of_categorical():
    logits = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    policy = PixelPolicy(logits)
    peer = Categorical(logits=logits.permute(0, 2, 3, 1))
    actions = policy.sample(7)
    assert actions.shape == (7, 2, 3, 4) and actions.dtype == torch.int64
    torch.testing.assert_close(policy.log_prob(actions), peer.log_prob(actions))
    torch.testing.assert_close(policy.entropy(), peer.entropy())
    torch.testing.assert_close(policy.probs.permute(0, 2, 3, 1), peer.probs)


def test_sampling_frequencies_are_the_probabilities():
    policy = random_policy()
    n = 20_000
    actions = policy.sample(n, torch.Generator().manual_seed(1))
    frequencies = torch.nn.functional.one_hot(actions, 5).float().mean(0).permute(0, 3, 1, 2)
    # Five standard errors of a frequency at p = 1/2, the widest.
    torch.testing.assert_close(frequencies, policy.probs, atol=5 * 0.5 / n**0.5, rtol=0)


def test_sites_and_samples_are_independent():
    policy = PixelPolicy(torch.zeros(1, 2, 1, 2))
    a = policy.sample(20_000, torch.Generator().manual_seed(2)).squeeze().float() - 0.5
    assert abs((a[:, 0] * a[:, 1]).mean()) < 5 * 0.25 / 20_000**0.5
    assert abs((a[1:, 0] * a[:-1, 0]).mean()) < 5 * 0.25 / 20_000**0.5


def test_an_impossible_class_is_never_drawn():
    logits = torch.zeros(1, 3, 8, 8)
    logits[:, 0] = -torch.inf
    logits[:, 2] = -torch.inf
    policy = PixelPolicy(logits)
    noise = torch.stack([torch.zeros(1, 8, 8), torch.full((1, 8, 8), 1 - 2**-24)])
    assert (policy.inverse_cdf(noise) == 1).all()


def test_the_same_generator_draws_the_same_actions():
    policy = random_policy()
    draws = [policy.sample(4, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*draws)


def test_a_coarser_grid_acts_on_mean_logits_and_a_finer_one_on_interpolated():
    logits = torch.randn(1, 3, 4, 6)
    coarse = PixelPolicy(logits, (2, 3))
    means = logits.view(1, 3, 2, 2, 3, 2).mean((3, 5))
    torch.testing.assert_close(coarse.log_probs, means.log_softmax(1))
    fine = PixelPolicy(logits, (8, 12))
    assert fine.log_probs.shape == (1, 3, 8, 12)
    torch.testing.assert_close(fine.probs.sum(1), torch.ones(1, 8, 12))
    assert PixelPolicy(logits, (3, 5)).sample(2).shape == (2, 1, 3, 5)


def test_low_precision_logits_are_computed_in_float32():
    assert PixelPolicy(torch.zeros(1, 2, 2, 2, dtype=torch.bfloat16)).log_probs.dtype == torch.float32


@pytest.mark.parametrize("logits, grid", [(torch.zeros(3, 4, 4), None), (torch.zeros(1, 3, 4, 4), (0, 4))])
def test_bad_arguments(logits, grid):
    with pytest.raises(ValueError, match=r"got \(3, 4, 4\)|got \(0, 4\)"):
        PixelPolicy(logits, grid)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_site_without_a_distribution_shows(value):
    """Of a network that has diverged. The other sites have theirs."""
    logits = torch.zeros(1, 2, 1, 2)
    logits[..., 1] = value
    policy = PixelPolicy(logits)
    for part in (policy.probs[0, 0, 0], policy.entropy()[0, 0]):
        assert part[0].isfinite() and part[1].isnan()


@pytest.mark.parametrize("scale", [1e3, 1e20, 1e30])
def test_large_logits_are_a_certain_policy(scale):
    logits = scale * torch.tensor([1.0, -1.0, 0.5]).view(1, 3, 1, 1)
    logits.requires_grad_()
    policy = PixelPolicy(logits)
    policy.entropy().sum().backward()
    assert policy.probs.flatten().tolist() == [1, 0, 0]
    assert policy.entropy().item() == 0 and logits.grad.isfinite().all()


@pytest.mark.parametrize("grid", [(8, 12), (2, 12), (8, 3), (4, 7), (5, 6)])
def test_a_grid_finer_on_either_side_is_interpolated_bilinearly(grid):
    logits = torch.randn(1, 3, 4, 6)
    expected = torch.nn.functional.interpolate(logits, size=grid, mode="bilinear", align_corners=False).log_softmax(1)
    torch.testing.assert_close(PixelPolicy(logits, grid).log_probs, expected)


@pytest.mark.parametrize("grid", [(4, 5), (3, 6), (3, 5)])
def test_a_coarser_grid_that_does_not_divide_is_averaged(grid):
    logits = torch.randn(1, 3, 4, 6)
    expected = torch.nn.functional.adaptive_avg_pool2d(logits, grid).log_softmax(1)
    torch.testing.assert_close(PixelPolicy(logits, grid).log_probs, expected)


def test_where_probabilities_sum_to_less_than_the_noise_the_last_class_is_drawn():
    """In float32, of many classes."""
    policy = PixelPolicy(torch.randn(1, 150, 16, 16))
    noise = torch.full((1, 1, 16, 16), 1 - 2**-24)
    assert (policy.probs.cumsum(1)[:, -1] <= noise).any()
    assert policy.inverse_cdf(noise).max() == 149


@pytest.mark.parametrize("grid", [None, (2, 2), (6, 8)])
def test_a_temperature_divides_the_logits(grid):
    logits = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    cold, warm = PixelPolicy(logits, grid, temperature=0.25), PixelPolicy(logits, grid)
    torch.testing.assert_close(cold.log_probs, PixelPolicy(4 * logits, grid).log_probs)
    assert torch.equal(cold.probs.argmax(1), warm.probs.argmax(1)) and (cold.entropy() < warm.entropy()).all()
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="temperature must be above 0"):
            PixelPolicy(logits, grid, temperature=bad)
