"""A policy of 2 sites and 3 classes with an arbitrary reward of the joint action, for exact enumeration."""

from itertools import product

import torch

from rss_hf.advantages import EstimatorConfig, action_weights
from rss_hf.advantages.leave_one_out import LeaveOneOut
from rss_hf.policy import PixelPolicy
from rss_hf.training.loss import policy_gradient_loss
from rss_hf.training.rollouts import Rollout


C, SITES = 3, 2


REWARD_TABLE = torch.tensor([[0.1, 0.9, 0.3], [0.7, 0.2, 0.0], [0.5, 0.4, 1.0]], dtype=torch.float64)


def toy(requires_grad=False):
    logits = torch.tensor([[[[0.3, -0.5]], [[-0.2, 0.8]], [[0.6, 0.1]]]], dtype=torch.float64)
    return logits.requires_grad_(requires_grad)


def reward_of(actions):
    return REWARD_TABLE[actions[:, :, 0, 0], actions[:, :, 0, 1]][..., None, None]  # (K, B, 1, 1)


def expected_reward_gradient():
    """d E[R] / d logits by enumeration of the 9 joint actions."""
    logits = toy(True)
    probs = logits.softmax(1)
    value = sum(REWARD_TABLE[a, b] * probs[0, a, 0, 0] * probs[0, b, 0, 1] for a, b in product(range(C), repeat=2))
    return torch.autograd.grad(value, logits)[0]


def surrogate_gradient(actions, advantages):
    logits = toy(True)
    policy = PixelPolicy(logits)
    loss = policy_gradient_loss(policy, on_policy(policy, actions, advantages))
    return -SITES * torch.autograd.grad(loss, logits)[0]  # the loss is a mean over sites, the value's gradient a sum


def enumerate_maps(num_maps):
    """All `num_maps`-tuples of joint actions, (num_maps, tuples, 1, 2), with their probabilities (tuples,)."""
    joint = torch.tensor(list(product(range(C), repeat=SITES)))
    log_p = PixelPolicy(toy()).log_prob(joint.view(-1, 1, 1, SITES)).sum((1, 2, 3))
    index = torch.cartesian_prod(*[torch.arange(len(joint))] * num_maps).view(-1, num_maps)
    return joint[index].permute(1, 0, 2).unsqueeze(2), log_p[index].sum(1).exp()


def make_rollout(policy, actions, weights, rewards, estimator=LeaveOneOut, eta=0.7, is_reused=True):
    """What `policy` drew and earned, for `estimator` to use again."""
    estimator = estimator(EstimatorConfig(eta=eta), context=None)
    return Rollout(policy.log_probs.detach(), actions, rewards, weights, estimator, is_reused=is_reused)


def on_policy(policy, actions, advantages, is_reused=False):
    """A rollout with these advantages of the policy itself."""
    weights = action_weights(actions, advantages, policy.num_actions)
    return make_rollout(policy, actions, weights, advantages, is_reused=is_reused)
