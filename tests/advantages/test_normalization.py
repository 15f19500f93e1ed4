"""The scale of advantages: SyncAN over processes, groups, means; equal rewards and rewards that do not apply."""

import pytest
import torch
from helpers.toy import on_policy

from rss_hf.advantages import leave_one_out, normalize, pairwise_spatial_difference
from rss_hf.policy import PixelPolicy
from rss_hf.training.loss import policy_gradient_loss


def rules(rewards, actions):
    yield leave_one_out(rewards)
    yield pairwise_spatial_difference(rewards, actions)


@pytest.mark.parametrize("shape", [(6, 2, 1, 1), (6, 2, 4, 5)])
@pytest.mark.parametrize("over", ["batch", "group", "mean", "none"])
def test_equal_rewards_give_exactly_no_advantage(shape, over):
    rewards = torch.full(shape, 0.1) + torch.arange(2).view(1, 2, 1, 1) / 3  # thirds and tenths: sums of them round
    actions = torch.randint(3, (6, 2, 4, 5))
    for advantages in rules(rewards, actions):
        assert (normalize(advantages, rewards, over, lambda t: t) == 0).all()


@pytest.mark.parametrize("shape", [(6, 2, 1, 1), (6, 2, 4, 5)])
def test_rewards_that_do_not_apply_get_no_credit_and_give_none(shape):
    rewards = torch.rand(shape)
    rewards[:, 1] = torch.nan
    rewards[0, 0] = torch.nan
    actions = torch.randint(3, (6, 2, 4, 5))
    for advantages in rules(rewards, actions):
        assert (advantages[:, 1] == 0).all() and (advantages[0, 0] == 0).all()
        assert advantages.isfinite().all() and (advantages[:, 0] != 0).any()
    torch.testing.assert_close(leave_one_out(rewards)[1:, :1], leave_one_out(rewards[1:, :1]))


def test_syncan_divides_by_the_deviation_of_all_that_applies():
    rewards = torch.randn(6, 4, 1, 1) * torch.tensor([1.0, 5, 1, 1]).view(1, 4, 1, 1)
    rewards[:, 2] = torch.nan
    advantages = leave_one_out(rewards)
    deviation = advantages[:, [0, 1, 3]].square().mean().sqrt()
    torch.testing.assert_close(normalize(advantages, rewards, "batch", lambda t: t), advantages / deviation)
    by_group = normalize(advantages, rewards, "group", lambda t: t)
    torch.testing.assert_close(by_group[:, [0, 1, 3]].square().mean(0), torch.ones(3, 1, 1))


def test_syncan_over_processes_is_syncan_over_their_union():
    """Each process normalises its part with the sum of both moments; one has no image that applies."""
    rewards = torch.randn(6, 4, 1, 1)
    rewards[:, 2:] = torch.nan
    advantages = leave_one_out(rewards)
    whole = normalize(advantages, rewards, "batch", lambda t: t)
    parts = [(advantages[:, :2], rewards[:, :2]), (advantages[:, 2:], rewards[:, 2:])]
    moments = []
    for part in parts:
        normalize(*part, "batch", lambda t: moments.append(t) or t)
    synced = [normalize(*part, "batch", lambda t: sum(moments)) for part in parts]
    torch.testing.assert_close(torch.cat(synced, 1), whole)


def test_the_group_of_a_pixel_level_reward_is_a_site():
    rewards = (torch.rand(6, 2, 4, 5) < 0.4).float()
    advantages = leave_one_out(rewards)
    normalized = normalize(advantages, rewards, "group", lambda t: t)
    varied = rewards.std(0) > 0
    assert 0 < varied.sum() < varied.numel()
    torch.testing.assert_close(normalized.square().mean(0), varied.float(), atol=1e-4, rtol=0)  # EPSILON off


def test_pixel_match_over_its_mean_gives_the_gradient_of_cross_entropy():
    """In expectation, up to the chance (1 - pi(y))^K that no sample hits: here below 1e-4."""
    logits = (0.5 * torch.randn(1, 3, 2, 2, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(3, (1, 2, 2))
    policy = PixelPolicy(logits)
    assert (1 - policy.probs.gather(1, labels[None])).max() ** 256 < 1e-4
    gradients = []
    for _ in range(400):
        actions = policy.sample(256)
        rewards = (actions == labels).double()
        advantages = normalize(leave_one_out(rewards), rewards, "mean", lambda t: t)
        loss = policy_gradient_loss(policy, on_policy(policy, actions, advantages))
        gradients.append(torch.autograd.grad(loss, logits, retain_graph=True)[0])
    gradients = torch.stack(gradients)
    (expected,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, labels), logits)
    error = gradients.std(0) / len(gradients) ** 0.5
    # Four standard errors of the mean, and the bias of a ratio of means, of order 1/K.
    assert ((gradients.mean(0) - expected).abs() < 4 * error + expected.abs() / 64).all()


def test_negative_rewards_have_no_mean_to_divide_by():
    rewards = torch.tensor([-1.0, 2.0]).view(2, 1, 1, 1)
    with pytest.raises(RuntimeError, match="must be >= 0"):
        normalize(leave_one_out(rewards), rewards, "mean", lambda t: t)


def test_advantages_without_a_scale_are_unchanged():
    advantages = torch.randn(4, 2, 1, 1)
    assert torch.equal(normalize(advantages, advantages, "none", lambda t: t), advantages)


def test_an_epsilon_is_added_to_what_divides():
    advantages = torch.tensor([1e-6, -1e-6]).view(2, 1, 1, 1)
    for over in ("batch", "group"):
        got = normalize(advantages, advantages, over, lambda t: t)
        torch.testing.assert_close(got, advantages / 2e-6)
    rewards = torch.full((2, 1, 1, 1), 1e-6)
    torch.testing.assert_close(normalize(advantages, rewards, "mean", lambda t: t), advantages / 2e-6)


def test_the_moments_of_a_batch_alone_are_summed_over_processes():
    """Of another process with three times as much square and no map."""
    advantages = torch.randn(4, 2, 1, 1)
    factors = torch.tensor([4.0, 1.0]).view(2, 1, 1, 1, 1)
    for over, factor in (("batch", 0.5), ("group", 1.0)):
        own = normalize(advantages, advantages, over, lambda t: t)
        got = normalize(advantages, advantages, over, lambda t: factors * t)
        torch.testing.assert_close(got, factor * own, rtol=1e-4, atol=1e-5)  # but for EPSILON


@pytest.mark.parametrize("over", ["batch", "group"])
def test_a_single_reward_is_its_own_deviation(over):
    one = torch.full((1, 1, 1, 1), -3.0)
    torch.testing.assert_close(normalize(one, one, over, lambda t: t), torch.full_like(one, -1.0))


def test_advantages_of_sites_are_scaled_over_the_group_that_one_reward_made():
    """An image's maps and sites where the reward is image-level, each site by itself where it is not."""
    advantages = torch.randn(4, 2, 3, 5)
    by_image = normalize(advantages, torch.rand(4, 2, 1, 1), "group", lambda t: t)
    torch.testing.assert_close(by_image, advantages / advantages.square().mean((0, 2, 3), keepdim=True).sqrt())
    by_site = normalize(advantages, torch.rand(4, 2, 3, 5), "group", lambda t: t)
    torch.testing.assert_close(by_site, advantages / advantages.square().mean(0).sqrt(), rtol=1e-3, atol=1e-4)
