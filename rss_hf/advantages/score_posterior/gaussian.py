"""
The critic: what each class is worth at each site, inferred from the scores of all maps of an image that were judged.

A score is one number for a whole map, and a sum over sites or nearly one. Leave-one-out credits every site with all of
it, so that each site's noise is what all others did; that averages out over steps, if there are enough. But scores are
exact, and a map judged long ago is still worth what it was worth: each score is a linear equation in what the image's
sites are worth. The critic solves them, with the policy's beliefs as the prior. It is ours, not the paper's.
"""

from collections.abc import Callable

import torch

from ...rewards.segmentation import IOU_OFFSET


VOID_SITE = -1  # the place of a cell that shows nothing of the image
NOISE = 0.1  # of the expected variance of scores: what a sum over sites does not explain, and views of other scales


def blur(maps: torch.Tensor, reach: float) -> torch.Tensor:
    """Gaussian sums of width `reach` sites, 1 at the centre: (..., h, w) -> (..., h, w)."""

    def kernel(sites: int) -> torch.Tensor:
        side = torch.arange(sites, device=maps.device, dtype=maps.dtype)
        near = (-((side[:, None] - side) ** 2) / (2 * reach**2)).exp()
        return near.where(near > 1e-6, 0)  # denormal numbers would be slow

    return kernel(maps.shape[-2]) @ maps @ kernel(maps.shape[-1])


def spread(maps: torch.Tensor, reach: float, shared: float = 0.0) -> torch.Tensor:
    """K of [`gaussian_critic`] times `maps` (..., h, w), whose sites it mixes."""
    alone, near = (1 - shared) * 2.0**-reach, (1 - shared) * (1 - 2.0**-reach)
    mixed = blur(maps, reach).mul_(near).add_(maps, alpha=alone)
    return mixed.add_(maps.sum((-2, -1), keepdim=True), alpha=shared) if shared else mixed


@torch.no_grad()
def gaussian_critic(
    beliefs: torch.Tensor,
    actions: torch.Tensor,
    places: torch.Tensor,
    worths: torch.Tensor,
    scores: torch.Tensor,
    reach: float = 1.0,
    shared: float = 0.0,
    credit_reach: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    What the scores of an image's maps add to the beliefs about it: a Gaussian's posterior mean less its prior mean.

    Unknown is z[c, q], whether class c is right at site q. Its prior mean is pi_q(c), its covariance L_q K(q, q')
    L_q'^T: L_q L_q^T = diag(pi_q) - pi_q pi_q^T is that of a class drawn from the beliefs, and K is 1 at a site itself
    and falls from 1 - 2^-reach with the distance from it, for what leaves a site in doubt is often the same beside it;
    not to 0 but to `shared`, if that is above 0, for some doubts, as of what an object is, are those of a whole image.
    A score is the mean, over the map's cells that show the image, of z of their classes at their places, each times
    what its class is worth, and an offset that the maps of a visit share, of which nothing is known.

    The posterior mean is the best guess, and as a teacher it has a fault: it is smooth, and what is wrong in it is
    too, which adds up in a network's weights where errors of single sites cancel. K comes in twice, though, in the
    weights that the scores get and in what spreads them over the sites; for what is taught the latter may reach less
    far.

    Args:
        beliefs (`torch.Tensor` of shape `(B, C, h, w)`): float, in [0, 1], summing to 1 over C; of the whole image.
        actions (`torch.Tensor` of shape `(B, V, K, N)`): int64 in [0, C), K maps for each of V visits to an image.
        places (`torch.Tensor` of shape `(B, V, N)`):
            int64 in [0, h w), the image's site that a visit's cell shows, or `VOID_SITE`.
        worths (`torch.Tensor` of shape `(B, V, C)`): float, the score of a map of one class that is right everywhere.
        scores (`torch.Tensor` of shape `(B, V, K)`): in units of worths; NaN for a map that was not judged.
        reach (`float`, *optional*, defaults to 1): above 0, how far sites share a doubt, in sites.
        shared (`float`, *optional*, defaults to 0): in [0, 1), the part of it that all sites of the image share.
        credit_reach (`float`, *optional*, defaults to `reach` and `shared`):
            The reach, with nothing shared, of the K that spreads what is taught.

    Returns:
        what the beliefs gain and what is to be taught, `(B, C, h, w)` float, summing to 0 over C; 0 where no scores
        differ.
    """
    (batch_size, classes, h, w), (_, visits, samples, _) = beliefs.shape, actions.shape
    sites, maps = h * w, visits * samples
    roots = beliefs.flatten(2).sqrt()[:, None]  # (B, 1, C, Q)
    # visits alike in scale, for one noise
    scale = torch.einsum("bvc,bcq->bv", worths.square(), beliefs.flatten(2)).div(sites).sqrt()[..., None]
    scale = scale.clamp(min=torch.finfo(scale.dtype).tiny)
    worths, scores = worths / scale, scores / scale
    weight = (places != VOID_SITE).to(worths.dtype)
    weight = weight / weight.sum(2, keepdim=True).clamp(min=1)  # of the cells that show the image
    amount = worths[:, :, None].expand(-1, -1, samples, -1).gather(3, actions) * weight[:, :, None]
    place = places.clamp(min=0)[:, :, None].expand(actions.shape)  # where nothing is shown, the amount is 0
    place, index, amount = (part.flatten(1, 2) for part in (place, actions * sites + place, amount))  # (B, M, N)
    # how much of each map is of each class at each site: (B, M, C, Q)
    own = roots.new_zeros(batch_size, maps, classes * sites).scatter_add_(2, index, amount)
    own = own.view(batch_size, maps, classes, sites).mul_(roots)
    believed = beliefs.flatten(1)[:, None].expand(-1, maps, -1).gather(2, index)
    confidence = torch.zeros_like(own[:, :, 0]).scatter_add_(2, place, amount * believed)  # (B, M, Q)
    own = own.addcmul_(roots, confidence[:, :, None], value=-1).unflatten(-1, (h, w))  # L^T of each map
    covariance = own.flatten(2) @ spread(own, reach, shared).flatten(2).transpose(1, 2)  # (B, M, M)

    # less the mean over the maps of a visit that were judged: the offset drops out
    judged = (~scores.isnan()).to(roots.dtype)
    same = torch.eye(visits, device=roots.device, dtype=roots.dtype).repeat_interleave(samples, 0)
    per_visit = (judged / judged.sum(2, keepdim=True).clamp(min=1)).flatten(1)
    judged = judged.flatten(1)
    centring = torch.diag_embed(judged) - (same @ same.T) * judged[:, :, None] * per_visit[:, None]
    covariance = centring @ covariance @ centring
    surprise = centring @ (scores.nan_to_num(0).flatten(1) - confidence.sum(2))[..., None]  # (B, M, 1)

    unit = covariance.diagonal(dim1=1, dim2=2).sum(1) / judged.sum(1).clamp(min=1)
    unit = unit.clamp(min=torch.finfo(unit.dtype).tiny)[:, None, None]
    noise = NOISE * torch.eye(maps, device=unit.device, dtype=unit.dtype)
    factor, _ = torch.linalg.cholesky_ex(covariance / unit + noise)  # unlike `solve`, does not wait for the device
    weights = centring @ torch.cholesky_solve(surprise / unit, factor)
    told = torch.einsum("bm,bmchw->bchw", weights[..., 0], own)

    def in_probability(mixed: torch.Tensor) -> torch.Tensor:  # L of it
        root = roots.view(beliefs.shape)
        return root * (mixed - root * (root * mixed).sum(1, keepdim=True))

    gain = in_probability(spread(told, reach, shared))
    return gain, gain if credit_reach is None else in_probability(spread(told, credit_reach))


@torch.no_grad()
def expected_iou_gain(
    probs: torch.Tensor, gain: torch.Tensor, visible: torch.Tensor, reduce: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """
    What each class at each site brings to the batch's log(IoU + 0.05), mean over classes, if the critic is right.

    With m = pi + gain, I_c the mean of pi_c m_c and U_c that of pi_c + m_c - pi_c m_c over all sites of the batch, it
    is pi_p(c) times the derivative of mean_c log(I_c / U_c + 0.05) by pi_p(c), in units of 1 / (BN): the policy
    gradient that infinitely many maps would have with these counts as reward, without asking for a single one. A score
    of pixels alone has rare classes learned late, for they are few pixels; the IoU of each class counts the same.

    Args:
        probs (`torch.Tensor` of shape `(B, C, h, w)`): the policy's, float in [0, 1].
        gain (`torch.Tensor` of shape `(B, C, h, w)`): what the critic adds to them, summing to 0 over C.
        visible (`torch.Tensor` of shape `(B, 1, h, w)`): bool, the sites that show the image; no other is counted.
        reduce (`Callable`): sums a tensor over all processes, as `accelerator.reduce` does.

    Returns:
        `torch.Tensor` of shape `(B, C, h, w)`: float, 0 where nothing is visible.
    """
    expected = posterior(probs, gain)
    counts = expected_counts(probs, expected, visible)
    intersection, union, sites = reduce(torch.cat([counts, visible.sum().to(counts.dtype).expand_as(counts[:1])]))
    worth, cost = iou_worths(intersection, union)
    slope = worth[:, None, None] * expected - cost[:, None, None]
    return probs * slope * visible * sites[:, None, None]


def posterior(probs: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """The policy's beliefs and what the critic adds to them as probabilities: (B, C, h, w), summing to 1 over C."""
    expected = (probs + gain).clamp(min=0)
    return expected / expected.sum(1, keepdim=True)


def expected_counts(probs: torch.Tensor, expected: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """
    Intersection and union of each class (2, C), in sites, that maps of the policy `probs` (B, C, h, w) have on average
    if `expected` (B, C, h, w) are the probabilities of what is right, where `visible` (B, 1, h, w).
    """
    overlap = probs * expected
    return (torch.stack([overlap, probs + expected - overlap]) * visible).sum((1, 3, 4))


def iou_worths(intersection: torch.Tensor, union: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    What a site that is rightly called c adds to mean_c log(I_c / U_c + 0.05) more than one that is wrongly called so,
    and what the latter costs, both (C,), at counts (C,) of sites: the derivative by a site's probability of c, where c
    is right with probability m, is worth m - cost.
    """
    union = union.clamp(min=torch.finfo(union.dtype).eps)
    scale = union * (intersection + IOU_OFFSET * union) * len(union)
    return (intersection + union) / scale, intersection / scale
