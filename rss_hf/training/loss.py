"""The policy-gradient loss, of one step on samples or of several."""

import math

import torch

from ..advantages import action_weights
from ..policy import PixelPolicy
from .rollouts import Rollout


def policy_gradient_loss(policy: PixelPolicy, rollout: Rollout) -> torch.Tensor:
    """
    A loss whose gradient is -(1/KBN) sum_k,b,p (A_k - A(D)_k / eta') grad log pi(a_k[b, p]). D is what the policy has
    moved since the samples were drawn, turned into advantages as a reward is: D_k = sum_p log pi(a_k[p]) /
    pi_old(a_k[p]) and eta' = eta sqrt(N) for an image-level reward; a site's own log-ratio and eta' = eta for a
    pixel-level one.

    For the policy that drew the samples D is 0 and the gradient that of REINFORCE. In later steps on the same samples
    it is that of the square of what remains: the log-ratio is regressed on the advantage, as REBEL does
    ([arXiv 2404.16767](https://huggingface.co/papers/2404.16767)). Where the reward is a sum of Q over sites, its
    minimum is pi_old exp(eta' Q), normalised. The part of each reward already explained by the policy's movement is
    subtracted, which lowers the variance of what remains. No clipping is needed.

    Args:
        policy ([`~rss_hf.policy.PixelPolicy`]): of the same images and grid as the rollout.
        rollout ([`~rss_hf.training.rollouts.Rollout`]): of this policy or of an earlier one.

    Returns:
        `torch.Tensor` of shape `()`: minus the mean of what remains times the ratio, to first order.
    """
    log_ratios = policy.log_probs - rollout.log_probs
    weights = rollout.weights
    if rollout.is_reused:
        weights = weights - explained_weights(log_ratios.detach(), rollout)
    return -(weights * (1 + log_ratios)).sum()


def kl_divergence(policy: PixelPolicy, reference: PixelPolicy) -> torch.Tensor:
    """KL(pi || pi_ref) of each site of two policies on one grid, in nats: (B, h, w), at least 0."""
    return (policy.probs * (policy.log_probs - reference.log_probs)).sum(dim=1)


def explained_weights(log_ratios: torch.Tensor, rollout: Rollout) -> torch.Tensor:
    """The weights (B, C, h, w) of A(D) / eta', from the log-ratios (B, C, h, w) of all actions."""
    per_site = rollout.actions.permute(1, 2, 3, 0)
    log_ratio = log_ratios.permute(0, 2, 3, 1).gather(3, per_site).permute(3, 0, 1, 2)  # (K, B, h, w)
    if not rollout.is_pixel_level:
        log_ratio = log_ratio.sum((2, 3), keepdim=True) / math.sqrt(math.prod(log_ratios.shape[2:]))
    applies = ~rollout.rewards.isnan()
    advantages = rollout.estimator.advantages(log_ratio.where(applies, torch.nan), rollout.actions)
    return action_weights(rollout.actions, advantages / rollout.estimator.config.eta, log_ratios.shape[1])
