"""
Gaussian posterior of the class of each site, given the scores of whole maps.

A score is one number for a map, and a sum over sites or nearly one: a linear equation in the values of the image's
sites. The posterior solves the equations of all judged maps of an image, with the policy's probabilities as the prior.
"""

import torch

from .judged_maps import OUTSIDE


NEGLIGIBLE = 1e-6  # kernel values below are 0, since denormal numbers are slow
NO_VARIANCE = 1e-30  # of all scores of an image, in units of a class's value, below which there is none


def gaussian_filter(maps: torch.Tensor, length_scale: float) -> torch.Tensor:
    """Gaussian sums of `length_scale` sites, with weight 1 at the centre: (..., h, w) -> (..., h, w)."""

    def kernel(sites: int) -> torch.Tensor:
        side = torch.arange(sites, device=maps.device, dtype=maps.dtype)
        near = (-((side[:, None] - side) ** 2) / (2 * length_scale**2)).exp()
        return near.where(near > NEGLIGIBLE, 0)

    return kernel(maps.shape[-2]) @ maps @ kernel(maps.shape[-1])


def apply_kernel(maps: torch.Tensor, length_scale: float, image_correlation: float = 0.0) -> torch.Tensor:
    """The K of [`gaussian_posterior`] times `maps` (..., h, w), whose sites it mixes."""
    rest = 1 - image_correlation
    alone, near = rest * 2.0**-length_scale, rest * (1 - 2.0**-length_scale)
    mixed = gaussian_filter(maps, length_scale).mul_(near).add_(maps, alpha=alone)
    if not image_correlation:
        return mixed
    return mixed.add_(maps.sum((-2, -1), keepdim=True), alpha=image_correlation)


@torch.no_grad()
def gaussian_posterior(
    prior_probs: torch.Tensor,
    actions: torch.Tensor,
    site_index: torch.Tensor,
    class_values: torch.Tensor,
    scores: torch.Tensor,
    length_scale: float,
    image_correlation: float,
    score_noise: float,
    credit_length_scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The posterior mean given the scores of an image's maps, minus the prior mean.

    Unknown is z[c, q]: whether class c is right at site q. Its prior mean is pi_q(c), its covariance L_q K(q, q')
    L_q'^T. L_q L_q^T = diag(pi_q) - pi_q pi_q^T is the covariance of a class drawn from the prior. K is 1 at a site
    itself and falls from 1 - 2^-length_scale with the distance from it, down to `image_correlation`. A score is the
    mean, over the map's cells that show the image, of z of their classes at their sites, each times the value of the
    class, plus an offset that the maps of a view share and of which nothing is known.

    The posterior mean is over-smooth, and smooth errors do not cancel across sites. Advantages therefore spread the
    weighted scores with a second kernel, whose length scale may be shorter.

    Args:
        prior_probs (`torch.Tensor` of shape `(B, C, h, w)`): float, in [0, 1], summing to 1 over C; of whole images.
        actions (`torch.Tensor` of shape `(B, V, K, N)`): int64 in [0, C), K maps for each of V views of an image.
        site_index (`torch.Tensor` of shape `(B, V, N)`):
            int64 in [0, h w), the image's site that a view's cell shows, or `OUTSIDE`.
        class_values (`torch.Tensor` of shape `(B, V, C)`):
            float, the score of a map of one class that is right everywhere.
        scores (`torch.Tensor` of shape `(B, V, K)`): in units of `class_values`; NaN for a map that was not judged.
        length_scale, image_correlation, credit_length_scale, score_noise (`float`):
            see [`~rss_hf.advantages.score_posterior.config.ScorePosteriorConfig`].

    Returns:
        `posterior_shift` and `advantages`, `(B, C, h, w)` float, summing to 0 over C; 0 for an image whose scores do
        not differ, or whose maps do not differ where the prior leaves a class uncertain.

    Raises:
        RuntimeError: if the equations are singular in floating point; raise `score_noise`.
    """
    (batch_size, classes, h, w), (_, views, samples, _) = prior_probs.shape, actions.shape
    sites, maps = h * w, views * samples
    roots = prior_probs.flatten(2).sqrt()[:, None]  # (B, 1, C, Q)
    # views of one scale, for one noise
    scale = torch.einsum("bvc,bcq->bv", class_values.square(), prior_probs.flatten(2)).div(sites).sqrt()[..., None]
    scale = scale.clamp(min=torch.finfo(scale.dtype).tiny)
    class_values, scores = class_values / scale, scores / scale
    weight = (site_index != OUTSIDE).to(class_values.dtype)
    weight = weight / weight.sum(2, keepdim=True).clamp(min=1)  # of the cells that show the image
    coefficients = class_values[:, :, None].expand(-1, -1, samples, -1).gather(3, actions) * weight[:, :, None]
    site = site_index.clamp(min=0)[:, :, None].expand(actions.shape)  # where nothing is shown, the coefficient is 0
    site, index, coefficients = (part.flatten(1, 2) for part in (site, actions * sites + site, coefficients))
    # how much of each map is of each class at each site: (B, M, C, Q)
    design_matrix = roots.new_zeros(batch_size, maps, classes * sites).scatter_add_(2, index, coefficients)
    design_matrix = design_matrix.view(batch_size, maps, classes, sites).mul_(roots)
    prior = prior_probs.flatten(1)[:, None].expand(-1, maps, -1).gather(2, index)
    expected = torch.zeros_like(design_matrix[:, :, 0]).scatter_add_(2, site, coefficients * prior)  # (B, M, Q)
    design_matrix = design_matrix.addcmul_(roots, expected[:, :, None], value=-1).unflatten(-1, (h, w))  # L^T of each
    kernel_times_design = apply_kernel(design_matrix, length_scale, image_correlation)
    covariance = design_matrix.flatten(2) @ kernel_times_design.flatten(2).transpose(1, 2)  # (B, M, M)

    # less the mean over the maps of a view that were judged: the offset drops out
    judged = (~scores.isnan()).to(roots.dtype)
    view_of_map = torch.eye(views, device=roots.device, dtype=roots.dtype).repeat_interleave(samples, 0)
    per_view = (judged / judged.sum(2, keepdim=True).clamp(min=1)).flatten(1)
    judged = judged.flatten(1)
    centring = torch.diag_embed(judged) - (view_of_map @ view_of_map.T) * judged[:, :, None] * per_view[:, None]
    uncentred = (covariance.diagonal(dim1=1, dim2=2) * judged).sum(1)
    covariance = centring @ covariance @ centring
    residuals = centring @ (scores.nan_to_num(0).flatten(1) - expected.sum(2))[..., None]  # (B, M, 1)

    score_variance = covariance.diagonal(dim1=1, dim2=2).sum(1)
    # Below, the maps are the same but for rounding, and dividing by their variance would amplify it without bound.
    differs = score_variance > (torch.finfo(uncentred.dtype).eps * uncentred).clamp(min=NO_VARIANCE)
    score_variance = (score_variance / judged.sum(1).clamp(min=1)).where(differs, 1)[:, None, None]
    residuals = residuals.where(differs[:, None, None], 0)
    noise = score_noise * torch.eye(maps, device=score_variance.device, dtype=score_variance.dtype)
    # Unlike `solve`, it does not wait for the device, and what fails is asserted there too.
    factor, failed = torch.linalg.cholesky_ex(covariance / score_variance + noise)
    torch._assert_async(
        ~(failed.bool() & differs).any(),
        f"The posterior of an image's scores is singular in floating point: raise score_noise={score_noise:g}.",
    )
    weights = centring @ torch.cholesky_solve(residuals / score_variance, factor)
    data_term = torch.einsum("bm,bmchw->bchw", weights[..., 0], design_matrix)

    def in_probability(mixed: torch.Tensor) -> torch.Tensor:  # L of it
        root = roots.view(prior_probs.shape)
        return root * (mixed - root * (root * mixed).sum(1, keepdim=True))

    posterior_shift = in_probability(apply_kernel(data_term, length_scale, image_correlation))
    if credit_length_scale is None:
        return posterior_shift, posterior_shift
    return posterior_shift, in_probability(apply_kernel(data_term, credit_length_scale))
