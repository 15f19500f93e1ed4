"""The IoU that is to be expected, given the posterior: its counts, the value of each class, and its gradient."""

from collections.abc import Callable

import torch

from ...rewards import LogIoUSettings


def posterior_probs(probs: torch.Tensor, posterior_shift: torch.Tensor) -> torch.Tensor:
    """The policy's `probs` plus `posterior_shift` as probabilities: (B, C, h, w), summing to 1 over C."""
    expected = (probs + posterior_shift).clamp(min=0)
    return expected / expected.sum(1, keepdim=True)


def expected_counts(probs: torch.Tensor, expected: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """
    Intersection and union of each class (2, C), in sites, that maps of the policy `probs` (B, C, h, w) have on average
    if `expected` (B, C, h, w) are the probabilities of what is right, where `visible` (B, 1, h, w).
    """
    overlap = probs * expected
    return (torch.stack([overlap, probs + expected - overlap]) * visible).sum((1, 3, 4))


def iou_class_values(intersection: torch.Tensor, union: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    What a site that is rightly called c adds to mean_c log(I_c / U_c + 0.05) more than one that is wrongly called so,
    and what the latter costs, both (C,), at counts (C,) of sites: where c is right with probability m, the derivative
    by a site's probability of c is value m - cost.
    """
    union = union.clamp(min=torch.finfo(union.dtype).eps)
    scale = union * (intersection + LogIoUSettings.offset * union) * len(union)
    return (intersection + union) / scale, intersection / scale


@torch.no_grad()
def expected_iou_advantages(
    probs: torch.Tensor,
    posterior_shift: torch.Tensor,
    visible: torch.Tensor,
    reduce: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """
    What each class at each site adds to the batch's expected log(IoU + 0.05), mean over classes.

    With m = pi + posterior_shift, I_c the mean of pi_c m_c and U_c that of pi_c + m_c - pi_c m_c over all sites of the
    batch, it is pi_p(c) times the derivative of mean_c log(I_c / U_c + 0.05) by pi_p(c), in units of 1 / (BN): the
    policy gradient that infinitely many maps would have with these counts as reward. It takes no reward call. A score
    of pixels alone has rare classes learned late, for they are few pixels; the IoU of each class counts the same.

    Args:
        probs (`torch.Tensor` of shape `(B, C, h, w)`): the policy's, float in [0, 1].
        posterior_shift (`torch.Tensor` of shape `(B, C, h, w)`): posterior less prior mean, summing to 0 over C.
        visible (`torch.Tensor` of shape `(B, 1, h, w)`): bool, the sites that show the image; no other is counted.
        reduce (`Callable`): sums a tensor over all processes, as `accelerator.reduce` does.

    Returns:
        `torch.Tensor` of shape `(B, C, h, w)`: float, 0 where nothing is visible.
    """
    expected = posterior_probs(probs, posterior_shift)
    counts = expected_counts(probs, expected, visible)
    intersection, union, sites = reduce(torch.cat([counts, visible.sum().to(counts.dtype).expand_as(counts[:1])]))
    value, cost = iou_class_values(intersection, union)
    slope = value[:, None, None] * expected - cost[:, None, None]
    return probs * slope * visible * sites[:, None, None]
