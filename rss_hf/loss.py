"""The policy-gradient loss, in memory that does not grow with the number of samples."""

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
    weights = advantages.new_zeros(batch_size, num_actions, h, w)
    return weights.scatter_add_(1, actions.transpose(0, 1), advantages.expand(actions.shape).transpose(0, 1))


def policy_gradient_loss(policy: PixelPolicy, actions: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """
    The REINFORCE surrogate, -(1/KBN) sum_k,b,p A_k[b, p] log pi(a_k[b, p]): a mean over K samples, B images and the N
    sites of the grid, so that its gradient keeps its scale when the grid or K changes. Written -<W, log pi> / KBN with
    [`action_weights`], it holds one (B, C, h, w) tensor whatever K is.

    Its gradient is the policy gradient; its value is near 0 on-policy and says nothing of progress.

    Args:
        policy (`PixelPolicy`): B images, C actions, N = h w sites.
        actions (`torch.Tensor` of shape `(K, B, h, w)`): int64 action maps drawn from the policy.
        advantages (`torch.Tensor` of shape `(K, B, h, w)` or `(K, B, 1, 1)`): float, no gradient flows through them.

    Returns:
        `torch.Tensor` of shape `()`.
    """
    weights = action_weights(actions, advantages.detach(), policy.num_actions)
    return -(weights * policy.log_probs).sum() / actions.numel()
