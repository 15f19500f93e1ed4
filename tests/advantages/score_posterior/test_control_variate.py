"""The control variate is unbiased whatever it predicts, by enumeration."""

import math

import pytest
import torch
from accelerate import Accelerator
from helpers.posterior import Views
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

from rss_hf.advantages import EstimatorContext, Progress, action_weights, leave_one_out
from rss_hf.advantages.score_posterior.config import ControlVariateConfig
from rss_hf.advantages.score_posterior.control_variate import ControlVariate, control_variate, normalize_parts
from rss_hf.advantages.score_posterior.expected_iou import iou_class_values
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


def test_one_image_of_two_maps_is_divided_by_its_own_deviation():
    """And by 1e-6 more, which counts here."""
    residual = torch.tensor([1e-6, -1e-6]).view(2, 1, 1, 1)
    exact, probs = 2e-6 * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1), torch.full((1, 2, 1, 1), 0.5)
    deviation = 5**0.5 * 1e-6 + 1e-6
    for over in ("batch", "group"):
        got = normalize_parts(residual, exact, torch.zeros(2, 1, 1, 1), probs, over, torch.Tensor.clone)
        torch.testing.assert_close(got, (residual / deviation, exact / deviation))
    got = normalize_parts(residual, exact, torch.zeros(2, 1, 1, 1), probs, "none", torch.Tensor.clone)
    assert torch.equal(got[0], residual) and torch.equal(got[1], exact)


@pytest.mark.parametrize("scale_rewards", ["none", "group"])
@pytest.mark.parametrize(
    "reward_weights", [{"dice": 2.0}, {"running_log_iou": 0.7}, {"batch_log_iou": 0.5, "dice": 3.0}]
)
def test_weights_are_those_of_what_is_predicted_written_out(reward_weights, scale_rewards):
    """Three steps on two images, the second shown in part; the posterior itself and the parts are tested above."""
    coef, logged, kept, batch = 0.6, {}, [], Views(2)
    run = {"num_samples": 3, "strides": [4], "scale_rewards": scale_rewards, "num_iterations": 1}
    config = ControlVariate.make_config({"confidence_penalty_coef": coef, "memory_size": 5}, **run)
    context = EstimatorContext(reward_weights, 3, 2, scale_rewards, Accelerator(cpu=True), logged.__setitem__)
    estimator, counts = ControlVariate(config, context), torch.zeros(2, 3)
    iou_weight = sum(weight for name, weight in reward_weights.items() if "log_iou" in name)
    other_weight, images, visible = reward_weights.get("dice", 0.0), 0.0, batch.visible
    for step in range(3):
        policy, rewards = PixelPolicy(torch.randn(2, 3, 2, 3)), torch.rand(3, 2, 1, 1)
        actions, probs = policy.sample(3), policy.probs
        weights = estimator.weights(policy, actions, rewards, batch.columns, Progress(0.1, step + 0.5))

        batch.update_prior(probs)
        shift = batch.posterior(kept)
        expected = (probs + shift).clamp(min=0)
        expected = expected / expected.sum(1, keepdim=True)
        hits = (probs * expected * visible).sum((0, 2, 3))
        union = ((probs + expected) * visible).sum((0, 2, 3)) - hits
        fade = math.exp(-2 / 320)
        counts, images = torch.stack([hits, union]) + fade * counts, 2 + fade * images
        value, cost = (iou_weight * part for part in iou_class_values(*(counts / images)))
        sites = visible.sum((1, 2, 3))[:, None]  # 6 of the first image, 4 of the second
        class_values = sites * value + other_weight
        right = (probs + shift).clamp(0, 1)
        predicted = (class_values / sites)[:, :, None, None] * right - cost[:, None, None]
        predicted = predicted * visible - coef * probs / 6
        confidence = policy.log_prob(actions).exp().mean((2, 3), keepdim=True)
        shaped = rewards - coef * confidence
        residual, exact = control_variate(shaped, actions, probs, predicted)
        noise, power = residual.square().mean(), leave_one_out(shaped).square().mean()
        torch.testing.assert_close(logged["explained_variance"], 1 - noise / power)
        torch.testing.assert_close(logged["advantage_std"], noise.sqrt())
        parts = normalize_parts(residual, exact, rewards, probs, scale_rewards, torch.Tensor.clone)
        torch.testing.assert_close(weights, action_weights(actions, parts[0], 3) + probs * parts[1] / 12)
        costs = (cost[actions] * visible[:, 0]).sum((2, 3))
        kept.append((actions, class_values, rewards[..., 0, 0] + costs))


def test_equal_rewards_have_no_variance_to_explain():
    logged, batch = {}, Views(1)
    context = EstimatorContext({"dice": 1.0}, 2, 1, "batch", Accelerator(cpu=True), logged.__setitem__)
    estimator, policy = ControlVariate(ControlVariateConfig(), context), PixelPolicy(torch.randn(1, 3, 2, 3))
    estimator.weights(policy, policy.sample(2), torch.ones(2, 1, 1, 1), batch.columns, Progress(0.1, 0.0))
    assert logged["explained_variance"].isnan()
