"""The policy-gradient loss, in memory that does not grow with the number of samples."""

from typing import NamedTuple

import torch

from .policy import PixelPolicy


def action_weights(actions: torch.Tensor, advantages: torch.Tensor, num_actions: int) -> torch.Tensor:
    """
    The weight of every action at every site, W[b, c, p] = sum_k A_k[b, p] 1[a_k[b, p] = c].

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
    return weights.scatter_add_(3, by_site, credit).permute(0, 3, 1, 2)


class Experience(NamedTuple):
    """
    What a batch's samples taught: all that the loss needs of them, in memory that does not grow with K.

    Attributes:
        positive (`torch.Tensor` of shape `(B, C, h, w)`): [`action_weights`] of the advantages above 0, over K B h w.
        negative (`torch.Tensor` of shape `(B, C, h, w)`): the same of those below 0.
        log_probs (`torch.Tensor` of shape `(B, C, h, w)`): of the policy that drew the samples.
    """

    positive: torch.Tensor
    negative: torch.Tensor
    log_probs: torch.Tensor

    @classmethod
    @torch.no_grad()
    def of_samples(cls, policy: PixelPolicy, actions: torch.Tensor, advantages: torch.Tensor) -> "Experience":
        """
        Args:
            policy (`PixelPolicy`): B images, C actions, N = h w sites.
            actions (`torch.Tensor` of shape `(K, B, h, w)`): int64 action maps drawn from the policy.
            advantages (`torch.Tensor` of shape `(K, B, h, w)` or `(K, B, 1, 1)`): float.
        """
        advantages = advantages / actions.numel()
        positive = action_weights(actions, advantages.clamp(min=0), policy.num_actions)
        negative = action_weights(actions, advantages.clamp(max=0), policy.num_actions)
        return cls(positive, negative, policy.log_probs.detach())


def policy_gradient_loss(policy: PixelPolicy, experience: Experience, epsilon: float) -> torch.Tensor:
    """
    The clipped surrogate of PPO, -(1/KBN) sum_k,b,p min(r A_k, clip(r, 1 - epsilon, 1 + epsilon) A_k) with the ratio
    r = pi(a_k[b, p]) / pi_old(a_k[b, p]) of each site: a mean over K samples, B images and the N sites of the grid, so
    that its gradient keeps its scale when the grid or K changes. What is clipped depends on the class and on the
    sign of its advantage only, so that sums over the samples of a class suffice, whatever K is.

    For the policy that drew the samples its gradient is the policy gradient (REINFORCE).

    Args:
        policy (`PixelPolicy`): of the same images and grid as the experience.
        experience (`Experience`): of this policy or of an earlier one.
        epsilon (`float`): above 0.

    Returns:
        `torch.Tensor` of shape `()`.
    """
    ratios = (policy.log_probs - experience.log_probs).exp()
    gained = experience.positive * ratios.clamp(max=1 + epsilon)
    return -(gained + experience.negative * ratios.clamp(min=1 - epsilon)).sum()
