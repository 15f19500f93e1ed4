"""The policy-gradient loss: what samples teach, in one step on them or in several."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from ..policy.pixel_policy import PixelPolicy


def action_weights(actions: torch.Tensor, advantages: torch.Tensor, num_actions: int) -> torch.Tensor:
    """
    The weight of every action at every site, W[b, c, p] = 1/(KBN) sum_k A_k[b, p] 1[a_k[b, p] = c].

    Args:
        actions (`torch.Tensor` of shape `(K, B, h, w)`): int64 in [0, C).
        advantages (`torch.Tensor` of shape `(K, B, h, w)` or `(K, B, 1, 1)`): float.
        num_actions (`int`): C.

    Returns:
        `torch.Tensor` of shape `(B, C, h, w)`, in the dtype of the advantages.
    """
    _, batch_size, h, w = actions.shape
    by_site, credit = (part.expand(actions.shape).permute(1, 2, 3, 0) for part in (actions, advantages))
    weights = advantages.new_zeros(batch_size, h, w, num_actions)
    return weights.scatter_add_(3, by_site, credit).permute(0, 3, 1, 2) / actions.numel()


class Experience(NamedTuple):
    """
    What a batch's samples taught when they were drawn.

    Attributes:
        log_probs (`torch.Tensor` of shape `(B, C, h, w)`): of the policy that drew them.
        weights (`torch.Tensor` of shape `(B, C, h, w)`):
            What each action at each site earned: the [`action_weights`] of the advantages, what a critic infers or
            expects, or both.
        actions (`torch.Tensor` of shape `(K, B, h, w)`): int64 action maps.
        credit (`Callable`):
            The rule, linear, that made advantages of rewards (K, B, 1, 1) or, where `by_site`, (K, B, h, w); None if
            the weights are a critic's alone, which are for the policy that drew the samples.
        by_site (`bool`): whether the reward is pixel-level.
    """

    log_probs: torch.Tensor
    weights: torch.Tensor
    actions: torch.Tensor
    credit: Callable[[torch.Tensor], torch.Tensor] | None
    by_site: bool


def policy_gradient_loss(policy: PixelPolicy, experience: Experience, eta: float | None = None) -> torch.Tensor:
    """
    A loss whose gradient is -(1/KBN) sum_k,b,p (A_k - credit(D)_k / eta') grad log pi(a_k[b, p]), where D is what the
    policy has moved since the samples were drawn, credited as a reward is: D_k = sum_p log pi(a_k[p]) / pi_old(a_k[p])
    and eta' = eta sqrt(N) for an image-level reward; a site's own log-ratio and eta' = eta for a pixel-level one.

    For the policy that drew the samples D is 0 and the gradient that of REINFORCE. In later steps on the same samples
    it is that of the square of what remains: the log-ratio is regressed on the advantage, as REBEL does
    ([arXiv 2404.16767](https://huggingface.co/papers/2404.16767)). Where the reward is a sum of Q over sites, its
    minimum is pi_old exp(eta' Q), normalised. What a sample's reward owes to sites already learnt is thereby taken out
    of the credit of the others, whose noise it was; nothing needs to be clipped.

    Args:
        policy (`PixelPolicy`): of the same images and grid as the experience.
        experience (`Experience`): of this policy or of an earlier one.
        eta (`float`, *optional*): above 0; None on the policy that drew the samples, which has not moved.

    Returns:
        `torch.Tensor` of shape `()`: minus the mean of what remains times the ratio, to first order.
    """
    log_probs, weights, actions, credit, by_site = experience
    log_ratios = policy.log_probs - log_probs
    if eta is not None:
        with torch.no_grad():
            by_site_class = log_ratios.permute(0, 2, 3, 1)
            moved = by_site_class.gather(3, actions.permute(1, 2, 3, 0)).permute(3, 0, 1, 2)
            if not by_site:
                moved = moved.sum((2, 3), keepdim=True) / math.sqrt(math.prod(policy.grid))
            weights = weights - action_weights(actions, credit(moved) / eta, policy.num_actions)
    return -(weights * (1 + log_ratios)).sum()
