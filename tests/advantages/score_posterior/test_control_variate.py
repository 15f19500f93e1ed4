"""The control variate is unbiased whatever it predicts, by enumeration."""

import pytest
import torch
from helpers.toy import (
    SITES,
    C,
    enumerate_maps,
    expected_reward_gradient,
    make_rollout,
    reward_of,
    surrogate_gradient,
    toy,
)

from rss_hf.advantages import action_weights
from rss_hf.advantages.score_posterior.control_variate import control_variate, normalize_parts
from rss_hf.policy import PixelPolicy
from rss_hf.training.loss import policy_gradient_loss


@pytest.mark.parametrize("num_samples", [2, 3])
@pytest.mark.parametrize("over", ["none", "batch", "group"])
@pytest.mark.parametrize("scale", [1, 0])  # the reward, and one that is the same for all
def test_a_control_variate_is_unbiased_whatever_it_expects(num_samples, over, scale):
    """In units of the deviation it is that of the reward, but for the part of the samples in the deviation itself."""
    actions, p = enumerate_maps(num_samples)
    values = torch.randn(1, C, 1, SITES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probs = toy().softmax(1)
    gradient = 0
    for weight, a in zip(p, actions.unsqueeze(2).unbind(1), strict=True):
        residual, exact = control_variate(scale * reward_of(a), a, probs, values)
        normalized = normalize_parts(residual, exact, reward_of(a), probs, over, torch.Tensor.clone)
        # for any normalisation both parts are divided by one number
        unit = normalized[1].norm() / exact.norm()
        torch.testing.assert_close(normalized[0], residual * unit)
        mean = (normalized[1] * probs).sum(1, keepdim=True)
        torch.testing.assert_close(mean, torch.zeros_like(mean))
        by_class = (normalized[1] / unit) * probs  # the gradient of sum_p sum_c pi_p(c) values by the logits
        gradient = gradient + weight * (surrogate_gradient(a, normalized[0] / unit) + by_class)
    torch.testing.assert_close(gradient, scale * expected_reward_gradient())


def test_what_is_expected_of_an_image_that_is_not_judged_teaches_nothing():
    generator = torch.Generator().manual_seed(3)
    actions, values = torch.randint(3, (4, 3, 2, 2), generator=generator), torch.randn(3, 3, 2, 2, generator=generator)
    rewards = torch.rand(4, 3, 1, 1, generator=generator)
    rewards[:, 1], rewards[1:, 2] = torch.nan, torch.nan  # an image without any score, one with a single one
    for part in control_variate(rewards, actions, torch.full_like(values, 1 / 3), values):
        images = part if len(part) == 3 else part.transpose(0, 1)
        assert (images[0] != 0).any() and (images[1:] == 0).all()


def test_what_is_expected_rightly_leaves_no_noise():
    actions, _ = enumerate_maps(2)
    values = torch.randn(1, C, 1, SITES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rewards = values.expand(*actions.shape[:2], C, 1, SITES).gather(2, actions[:, :, None]).sum((2, 3, 4)) + 0.3
    probs, maps = toy().softmax(1).expand(len(actions[0]), -1, -1, -1), values.expand(len(actions[0]), -1, -1, -1)
    residual, exact = control_variate(rewards[..., None, None], actions, probs, maps)
    torch.testing.assert_close(residual, torch.zeros_like(residual))
    one = (probs * exact.square()).sum((1, 2, 3))[0]
    _, normalized = normalize_parts(residual, exact, rewards[..., None, None], probs, "group", torch.Tensor.clone)
    torch.testing.assert_close(normalized, exact / one.sqrt(), rtol=1e-5, atol=0)  # but for EPSILON


def test_parts_are_normalized_over_processes_as_over_their_union():
    generator = torch.Generator().manual_seed(2)
    residual, exact = torch.randn(4, 6, 1, 1, generator=generator), torch.randn(6, 3, 2, 2, generator=generator)
    rewards = torch.zeros(4, 6, 1, 1)
    rewards[1:, 0] = rewards[0, 5] = torch.nan  # an image that is not judged, and a map of another
    residual = residual.where(~rewards.isnan(), 0)
    residual[:, 0] = 0
    exact = exact * torch.arange(6).view(-1, 1, 1, 1)
    probs = torch.randn(6, 3, 2, 2, generator=generator).softmax(1)
    for over in ("batch", "group"):
        whole = normalize_parts(residual, exact, rewards, probs, over, torch.Tensor.clone)
        parts = [(residual[:, half], exact[half], rewards[:, half], probs[half]) for half in (slice(2), slice(2, 6))]
        sums = []
        for part in parts:
            normalize_parts(*part, over, lambda own: sums.append(own) or own)  # noqa: B023
        got = [normalize_parts(*part, over, lambda own: sum(sums)) for part in parts]  # noqa: B023
        torch.testing.assert_close(torch.cat([part for part, _ in got], 1), whole[0])
        torch.testing.assert_close(torch.cat([part for _, part in got]), whole[1])
    by_image = (probs * exact.square()).sum((1, 2, 3)) + residual.square().sum() / 19
    torch.testing.assert_close(whole[1], exact / by_image.sqrt().view(-1, 1, 1, 1), rtol=1e-5, atol=1e-6)


def test_with_a_control_variate_it_is_learned_in_expectation():
    """From two maps, whatever is predicted of them: as above, over all pairs of maps that may be drawn."""
    old, generator = PixelPolicy(toy()), torch.Generator().manual_seed(4)
    values, guess = torch.randn(2, 1, C, 1, SITES, generator=generator, dtype=torch.float64)
    pairs, p = enumerate_maps(2)
    for way in (0.5, 1.0, 1.5):
        logits = (old.log_probs + way * 0.7 * SITES**0.5 * values).requires_grad_()
        loss = 0
        for weight, actions in zip(p, pairs.unsqueeze(2).unbind(1), strict=True):
            rewards = values.expand(2, *values.shape).gather(2, actions.unsqueeze(2)).sum((2, 3, 4))[..., None, None]
            residual, exact = control_variate(rewards, actions, old.probs, guess)
            weights = action_weights(actions, residual, C) + old.probs * exact / SITES
            rollout = make_rollout(old, actions, weights, rewards)
            loss = loss + weight * policy_gradient_loss(PixelPolicy(logits), rollout)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert (gradient.abs().max() < 1e-12) == (way == 1)
