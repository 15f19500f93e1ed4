"""The policy-gradient loss, on-policy and in later steps on the same samples."""

from itertools import product

import pytest
import torch
from helpers.toy import (
    make_rollout,
    on_policy,
)

from rss_hf.advantages import action_weights, leave_one_out
from rss_hf.advantages.leave_one_out import LeaveOneOut, Reinforce
from rss_hf.policy import PixelPolicy
from rss_hf.training.loss import kl_divergence, policy_gradient_loss


def test_on_policy_the_gradient_is_that_of_minus_advantage_times_log_prob():
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    policy = PixelPolicy(logits)
    actions, advantages = policy.sample(6), torch.randn(6, 2, 4, 5, dtype=torch.float64)
    direct = -(advantages * policy.log_prob(actions)).mean()
    for is_reused in (False, True):  # it has not moved, whether that is asked or known
        loss = policy_gradient_loss(policy, on_policy(policy, actions, advantages, is_reused))
        torch.testing.assert_close(*[torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (loss, direct)])


@pytest.mark.parametrize("sites", [(1, 1), (4, 5)])
@pytest.mark.parametrize("estimator", [LeaveOneOut, Reinforce])
def test_off_policy_its_gradient_is_that_of_the_square_of_what_remains(sites, estimator):
    old = PixelPolicy(torch.randn(2, 3, 4, 5, dtype=torch.float64))
    actions, advantages = old.sample(6), torch.randn(6, 2, *sites, dtype=torch.float64)
    logits = (old.log_probs + 0.3 * torch.randn(2, 3, 4, 5)).requires_grad_()
    policy, eta = PixelPolicy(logits), 0.7
    moved = policy.log_prob(actions) - old.log_prob(actions)
    is_pixel_level = sites != (1, 1)
    if not is_pixel_level:
        moved, eta_of_map = moved.sum((2, 3), keepdim=True), eta * 20**0.5
    credit = leave_one_out if estimator is LeaveOneOut else torch.Tensor.clone
    remaining = credit(advantages - moved / (eta if is_pixel_level else eta_of_map))
    # A rule that centres is a multiple of a projection: c c = K / (K - 1) c for leave-one-out.
    scale = 5 / 6 if estimator is LeaveOneOut else 1
    square = (eta if is_pixel_level else eta_of_map) / 2 * scale * remaining.square().sum() / actions.numel()
    weights = action_weights(actions, credit(advantages), 3)
    rollout = make_rollout(old, actions, weights, advantages, estimator, eta)
    loss = policy_gradient_loss(policy, rollout)
    torch.testing.assert_close(*[torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (loss, square)])


def test_a_reward_of_the_sites_is_learned_exactly():
    """From all 9 maps of 2 sites, once each: the gradient is 0 at pi_old exp(eta' Q), and nowhere on the way to it."""
    old = PixelPolicy(torch.randn(1, 3, 1, 2, dtype=torch.float64))
    values = torch.randn(1, 3, 1, 2, dtype=torch.float64)
    actions = torch.tensor(list(product(range(3), repeat=2))).view(9, 1, 1, 2)
    rewards = values.expand(9, 1, 3, 1, 2).gather(2, actions.unsqueeze(2)).squeeze(2).sum((2, 3), keepdim=True)
    weights = action_weights(actions, leave_one_out(rewards), 3)
    rollout = make_rollout(old, actions, weights, rewards)
    for way in (0.0, 0.5, 0.99, 1.0, 1.5):
        logits = (old.log_probs + way * 0.7 * 2**0.5 * values).requires_grad_()
        (gradient,) = torch.autograd.grad(policy_gradient_loss(PixelPolicy(logits), rollout), logits)
        assert (gradient.abs().max() < 1e-12) == (way == 1)


def test_on_policy_the_loss_is_minus_the_mean_advantage():
    policy = PixelPolicy(torch.randn(2, 3, 4, 5))
    actions, advantages = policy.sample(6), torch.randn(6, 2, 4, 5)
    loss = policy_gradient_loss(policy, on_policy(policy, actions, advantages))
    torch.testing.assert_close(loss, -advantages.mean())


def test_the_divergence_of_two_policies_is_that_of_categoricals():
    policy, reference = (PixelPolicy(torch.randn(2, 3, 4, 5)) for _ in range(2))
    peers = (torch.distributions.Categorical(probs=p.probs.permute(0, 2, 3, 1)) for p in (policy, reference))
    expected = torch.distributions.kl_divergence(*peers)
    torch.testing.assert_close(kl_divergence(policy, reference), expected)
