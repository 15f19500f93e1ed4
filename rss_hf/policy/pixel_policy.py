"""The policy: logits seen as one categorical distribution for each site of an action grid."""

import math

import torch
import torch.nn.functional as F


class PixelPolicy:
    """
    A factorised policy over label maps, pi(a|x) = prod_p Categorical(softmax(logits_p)), one factor for each site p of
    an action grid of `grid` = (h, w) sites; every action is a class in [0, C).

    Args:
        logits (`torch.Tensor` of shape `(B, C, h', w')`):
            Unnormalised log-probabilities, any float dtype; the policy computes in float32 at least.
        grid (`tuple[int, int]`, *optional*, defaults to `(h', w')`):
            The action grid. Logits are averaged over the cells of a coarser grid and interpolated bilinearly onto a
            finer one (reconstruction: the paper's own formula was not available).
        temperature (`float`, *optional*, defaults to 1.0):
            What logits are divided by, above 0. Below 1 the policy is surer, with the same most probable actions.

    Raises:
        ValueError: if the logits are not of four dimensions, a side of the grid is below 1, or the temperature is not
            above 0.
    """

    def __init__(self, logits: torch.Tensor, grid: tuple[int, int] | None = None, temperature: float = 1.0):
        if logits.ndim != 4:
            raise ValueError(f"logits must be of shape (B, C, h, w), got {tuple(logits.shape)}.")
        h, w = grid = tuple(logits.shape[-2:] if grid is None else grid)
        if min(grid) < 1:
            raise ValueError(f"An action grid needs at least one site a side, got {grid}.")
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}.")
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if h <= logits.shape[-2] and w <= logits.shape[-1]:
            logits = F.adaptive_avg_pool2d(logits, grid)
        else:
            logits = F.interpolate(logits, size=grid, mode="bilinear", align_corners=False)
        self.grid = grid
        self.log_probs = (logits / temperature).log_softmax(dim=1)  # (B, C, h, w)

    @property
    def probs(self) -> torch.Tensor:
        """Probabilities (B, C, h, w) in [0, 1], summing to 1 over C."""
        return self.log_probs.exp()

    @property
    def num_actions(self) -> int:
        """C, the number of classes."""
        return self.log_probs.shape[1]

    @property
    def num_sites(self) -> int:
        """N = h w."""
        return math.prod(self.grid)

    def sample(self, num_samples: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """K = `num_samples` independent action maps (K, B, h, w) int64 in [0, C)."""
        noise = torch.rand(
            len(self.log_probs), *self.grid, num_samples, generator=generator, device=self.log_probs.device
        )
        return self.inverse_cdf(noise.permute(3, 0, 1, 2))

    @torch.no_grad()
    def inverse_cdf(self, noise: torch.Tensor) -> torch.Tensor:
        """
        The action maps (K, B, h, w) int64 that uniform `noise` (K, B, h, w) in [0, 1) selects: at each site the first
        class whose cumulative probability exceeds the site's number. One number a site, whatever C is. In memory the
        samples of a site lie side by side, and noise that does so too is not copied.
        """
        cdf = self.probs.flatten(2).transpose(1, 2).cumsum(dim=-1)  # (B, N, C)
        per_site = noise.to(cdf.dtype).flatten(2).permute(1, 2, 0).contiguous()  # (B, N, K)
        actions = torch.searchsorted(cdf, per_site, right=True).clamp_(max=self.num_actions - 1)
        return actions.permute(2, 0, 1).view(noise.shape)

    def log_prob(self, actions: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (K, B, h, w), at most 0, of action maps (K, B, h, w) int64, site by site."""
        log_probs = self.log_probs.expand(actions.shape[0], *self.log_probs.shape)
        return log_probs.gather(2, actions.unsqueeze(2)).squeeze(2)

    def entropy(self) -> torch.Tensor:
        """Entropy (B, h, w) of each site's distribution, in nats, in [0, log C]."""
        return -(self.probs * self.log_probs).sum(dim=1)
