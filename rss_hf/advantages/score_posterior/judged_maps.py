"""The judged maps of each training image: actions, scores, and which site of the image each cell showed."""

import psutil
import torch

from ...constants import POSITION_GRID


OUTSIDE = -1  # the site index of a cell that shows nothing of the image


def free_bytes(device: torch.device) -> int:
    """Memory that is free for tensors on a device."""
    if device.type != "cuda":
        return psutil.virtual_memory().available
    kept_by_torch = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept_by_torch


class JudgedMaps:
    """
    The last judged maps of each image, the policy's last probabilities over the whole image, and decayed counts.
    Replicated on every process, since sharding assigns images anew in each epoch.

    Args:
        state (`dict[str, torch.Tensor]`): all of it, as [`JudgedMaps.empty`] makes it; what a checkpoint holds.
    """

    def __init__(self, state: dict[str, torch.Tensor]):
        self.state = state

    @classmethod
    def empty(
        cls, num_images: int, memory_size: int, num_samples: int, classes: int, grid: tuple[int, int], device
    ) -> "JudgedMaps":
        """
        Args:
            num_images (`int`): of the training set.
            memory_size (`int`): V, views of an image that are kept; the oldest is dropped first.
            num_samples (`int`): K, maps of each view.
            classes (`int`): C.
            grid (`tuple[int, int]`): (h, w), sites of an action map, and of the grid over the whole image.
            device (`torch.device`): where it is kept.

        Raises:
            ValueError: if there are more classes than a byte can tell, or the memory does not fit the device.
        """
        if classes > 256:
            raise ValueError(f"Judged maps are kept as bytes, for 256 classes at most, and the model has {classes}.")
        needed, free = num_images * memory_size * grid[0] * grid[1] * (num_samples + 4), free_bytes(device)
        if needed > free:
            raise ValueError(
                f"memory_size={memory_size} keeps {needed / 2**30:.1f} GiB of judged maps of {num_images} images, and "
                f"{free / 2**30:.1f} GiB are free on {device}: memory_size={int(memory_size * free // needed)} is the "
                "most that fits. Fewer num_samples or a larger stride take less."
            )
        sites, views = grid[0] * grid[1], (num_images, memory_size)
        return cls(
            {
                "actions": torch.zeros(*views, num_samples, sites, dtype=torch.uint8, device=device),
                "site_index": torch.full((*views, sites), OUTSIDE, dtype=torch.int32, device=device),
                "class_values": torch.ones(*views, classes, device=device),
                "scores": torch.full((*views, num_samples), torch.nan, device=device),
                "prior_probs": torch.full((num_images, classes, *grid), 1 / classes, device=device),
                "num_views": torch.zeros(num_images, dtype=torch.int64, device=device),
                "counts": torch.zeros(3, classes, device=device),
            }
        )

    def update_prior(self, index: torch.Tensor, site_index: torch.Tensor, probs: torch.Tensor) -> None:
        """
        The prior of images `index` (B,), none of them twice, becomes the policy's `probs` (B, C, N) where this view of
        them, whose cells show the sites `site_index` (B, N) or `OUTSIDE`, shows them.
        """
        self.state["prior_probs"][index] = merge_view(self.state["prior_probs"][index], probs, site_index)

    def store_scores(
        self,
        index: torch.Tensor,
        actions: torch.Tensor,
        site_index: torch.Tensor,
        class_values: torch.Tensor,
        scores: torch.Tensor,
    ) -> None:
        """
        Adds a view of images `index` (B,), none of them twice.

        Args:
            index (`torch.Tensor` of shape `(B,)`): int64.
            actions (`torch.Tensor` of shape `(B, K, N)`): int64.
            site_index (`torch.Tensor` of shape `(B, N)`): int64, the image's site of each cell or `OUTSIDE`.
            class_values (`torch.Tensor` of shape `(B, C)`): float, the score of a map of one class, right everywhere.
            scores (`torch.Tensor` of shape `(B, K)`): float, NaN where a map was not judged.
        """
        state = self.state
        slot = state["num_views"][index] % state["scores"].shape[1]
        state["num_views"][index] += 1
        state["actions"][index, slot] = actions.to(torch.uint8)
        state["site_index"][index, slot] = site_index.int()
        state["class_values"][index, slot] = class_values
        state["scores"][index, slot] = scores

    def load_views(self, index: torch.Tensor, max_views: int | None = None) -> dict[str, torch.Tensor]:
        """
        What [`~rss_hf.advantages.score_posterior.gaussian.gaussian_posterior`] takes, of images `index` (B,). Where no
        image has more than `max_views` views, what is empty is left out, and early steps are faster.
        """
        names = ("actions", "site_index", "class_values", "scores")
        views = {name: self.state[name][:, :max_views][index] for name in names}
        for name in ("actions", "site_index"):
            views[name] = views[name].long()
        return views | {"prior_probs": self.state["prior_probs"][index]}


def merge_view(prior_probs: torch.Tensor, probs: torch.Tensor, site_index: torch.Tensor) -> torch.Tensor:
    """`prior_probs` (B, C, h, w), at the sites in view replaced by the mean of `probs` (B, C, N) there."""
    batch_size, classes, h, w = prior_probs.shape
    index = site_index.where(site_index >= 0, h * w)[:, None]  # (B, 1, N); the last is dropped
    totals = prior_probs.new_zeros(batch_size, classes + 1, h * w + 1)
    totals.scatter_add_(2, index.expand(-1, classes + 1, -1), torch.cat([probs, torch.ones_like(probs[:, :1])], 1))
    sums, counts = totals[..., :-1].split([classes, 1], dim=1)
    return torch.where(counts > 0, sums / counts.clamp(min=1), prior_probs.flatten(2)).view(prior_probs.shape)


def sites_in_view(positions: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """
    The site (B, h w) int64 of a grid of (h, w) over the whole image that each cell of an action grid of as many sites
    shows at its centre, `OUTSIDE` for padding; `positions` (B, H, W) are a [`~rss_hf.data.SegmentationDataset`]'s.
    """
    (height, width), (h, w) = positions.shape[-2:], grid
    rows, columns = (
        (2 * torch.arange(sites, device=positions.device) + 1) * pixels // (2 * sites)
        for sites, pixels in ((h, height), (w, width))
    )
    centres = positions[:, rows[:, None], columns].flatten(1)
    sites = centres // POSITION_GRID * h // POSITION_GRID * w + centres % POSITION_GRID * w // POSITION_GRID
    return sites.where(centres >= 0, OUTSIDE)
