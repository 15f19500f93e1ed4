"""Images of 2 x 3 sites and 3 classes as an estimator with a memory is shown them, and their posterior."""

import torch

from rss_hf.advantages.score_posterior.gaussian import gaussian_posterior
from rss_hf.advantages.score_posterior.judged_maps import OUTSIDE


class Views:
    """Every image is shown whole, the second one shifted by a site: its last column shows nothing of it."""

    def __init__(self, batch_size):
        rows, columns = torch.arange(2) * 128, torch.arange(3) * 86  # in 256ths of the image
        positions = (rows[:, None] * 256 + columns).repeat(batch_size, 1, 1)
        sites = torch.arange(6).view(2, 3).repeat(batch_size, 1, 1)
        if batch_size > 1:
            for part in (positions, sites):
                part[1] = part[1].roll(-1, 1)
                part[1, :, 2] = OUTSIDE
        self.sites, self.visible = sites.flatten(1), (sites != OUTSIDE)[:, None]
        self.columns = {"image_index": torch.arange(batch_size), "image_positions": positions}
        self.prior_probs = torch.full((batch_size, 3, 2, 3), 1 / 3)

    def update_prior(self, probs):
        for b, sites in enumerate(self.sites):
            shown = sites != OUTSIDE
            self.prior_probs[b].flatten(1)[:, sites[shown]] = probs[b].flatten(1)[:, shown]

    def in_view(self, maps):
        """What maps (B, C, h, w) of whole images are where the views show them, 0 elsewhere."""
        index = self.sites.clamp(min=0)[:, None].expand(-1, maps.shape[1], -1)
        return maps.flatten(2).gather(2, index).view(maps.shape) * self.visible

    def posterior(self, kept, credit=False, **settings):
        """Of `kept` (actions (K, B, h, w), class values (B, C), scores (K, B)), each from a step; `credit` too."""
        if not kept:
            return torch.zeros_like(self.prior_probs)
        actions = torch.stack([actions.flatten(2).transpose(0, 1) for actions, _, _ in kept], 1)  # (B, V, K, N)
        site_index = self.sites[:, None].expand(-1, len(kept), -1)
        values = torch.stack([values for _, values, _ in kept], 1)
        scores = torch.stack([scores.T for _, _, scores in kept], 1)
        settings = {"length_scale": 1.0, "image_correlation": 0.0, "score_noise": 0.1} | settings
        parts = gaussian_posterior(self.prior_probs, actions, site_index, values, scores, **settings)
        return tuple(map(self.in_view, parts)) if credit else self.in_view(parts[0])
