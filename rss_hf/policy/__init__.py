"""The policy: from logits to action maps, on a grid of sites, with noise that is a function of the seed."""

from .action_grid import ProgressiveStrides, action_grid, site_of_pixel, upsample_actions
from .pixel_policy import PixelPolicy
from .sampling_noise import SeededNoise, mix_seeds


__all__ = [
    "PixelPolicy",
    "ProgressiveStrides",
    "SeededNoise",
    "action_grid",
    "mix_seeds",
    "site_of_pixel",
    "upsample_actions",
]
