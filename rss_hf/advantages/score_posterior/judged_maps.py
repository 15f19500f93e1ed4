"""What was judged before: the maps of each training image, their scores, and where in the image their cells were."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ...advantages.score_posterior.gaussian import VOID_SITE
from ...data.examples import POSITIONS
from ...rewards.confusion import RunningCounts


class MapMemory:
    """
    The last maps of each image and what they scored, and the policy's last beliefs about the whole image; and, for the
    control variate, the counts of the images seen lately.

    Args:
        state (`dict[str, torch.Tensor]`): all of it, as [`MapMemory.empty`] makes it; what a checkpoint holds.
    """

    FILE_NAME = "map_memory.safetensors"  # in a checkpoint

    def __init__(self, state: dict[str, torch.Tensor]):
        self.state = state

    @classmethod
    def empty(cls, images: int, visits: int, samples: int, classes: int, grid: tuple[int, int], device: torch.device):
        """
        Args:
            images (`int`): how many there are.
            visits (`int`): V, how many visits to an image are remembered; the oldest is forgotten first.
            samples (`int`): K, maps at each visit.
            classes (`int`): C.
            grid (`tuple[int, int]`): (h, w), sites of an action map, and of the grid over the whole image.
            device (`torch.device`): where it is kept.
        """
        sites = grid[0] * grid[1]
        return cls(
            {
                "actions": torch.zeros(images, visits, samples, sites, dtype=torch.uint8, device=device),
                "places": torch.full((images, visits, sites), VOID_SITE, dtype=torch.int32, device=device),
                "worths": torch.ones(images, visits, classes, device=device),
                "scores": torch.full((images, visits, samples), torch.nan, device=device),
                "beliefs": torch.full((images, classes, *grid), 1 / classes, device=device),
                "visits": torch.zeros(images, dtype=torch.int64, device=device),
                "counts": torch.zeros(3, classes, device=device),
            }
        )

    def save(self, folder: str | Path) -> None:
        """Into a checkpoint's folder."""
        save_file(self.state, Path(folder, self.FILE_NAME))

    @classmethod
    def load(cls, folder: str | Path, images: int, visits: int, samples: int, device: torch.device):
        """That of a checkpoint's folder, None if it has none; `ValueError` if it was of other sizes than these."""
        path, asked = Path(folder, cls.FILE_NAME), (images, visits, samples)
        if not path.is_file():
            return None
        memory = cls(load_file(path, str(device)))
        if (kept := tuple(memory.state["scores"].shape)) != asked:
            raise ValueError(
                f"{path} is of (training images, critic_visits, num_samples) = {kept}, and this run has {asked}: "
                "resume with what the run began with."
            )
        return memory

    def see(self, index: torch.Tensor, places: torch.Tensor, probs: torch.Tensor) -> None:
        """
        Beliefs of images `index` (B,), none of them twice, become the policy's `probs` (B, C, N) of this view of them,
        whose cells show the sites `places` (B, N), or `VOID_SITE`.
        """
        self.state["beliefs"][index] = see(self.state["beliefs"][index], probs, places)

    def write(self, index, actions, places, worths, scores) -> None:
        """
        Adds a visit to images `index` (B,), none of them twice.

        Args:
            index (`torch.Tensor` of shape `(B,)`): int64.
            actions (`torch.Tensor` of shape `(B, K, N)`): int64.
            places (`torch.Tensor` of shape `(B, N)`): int64, the image's site of each cell or `VOID_SITE`.
            worths (`torch.Tensor` of shape `(B, C)`): float, what a map that is of a class and right would score.
            scores (`torch.Tensor` of shape `(B, K)`): float, NaN where a map was not judged.
        """
        state = self.state
        slot = state["visits"][index] % state["scores"].shape[1]
        state["visits"][index] += 1
        state["actions"][index, slot] = actions.to(torch.uint8)
        state["places"][index, slot] = places.int()
        state["worths"][index, slot] = worths
        state["scores"][index, slot] = scores

    def read(self, index: torch.Tensor, visits: int | None = None) -> dict[str, torch.Tensor]:
        """
        What `gaussian_critic` takes, of images `index` (B,). None was visited more than `visits` times, if that is
        given: what is empty is then left out, and early steps are faster.
        """
        beliefs, *visited = (self.state[name] for name in ("beliefs", "actions", "places", "worths", "scores"))
        actions, places, worths, scores = (part[:, :visits][index] for part in visited)
        return {
            "beliefs": beliefs[index],
            "actions": actions.long(),
            "places": places.long(),
            "worths": worths,
            "scores": scores,
        }

    def count(self, counts: torch.Tensor) -> torch.Tensor:
        """Adds a batch's `counts` (3, C) and returns all, as [`~rss_hf.agreement.RunningCounts`] does."""
        self.state["counts"] = RunningCounts(self.state["counts"])(counts)
        return self.state["counts"]


def see(beliefs: torch.Tensor, probs: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Beliefs (B, C, h, w), at the sites that are in view replaced by the mean of `probs` (B, C, N) there."""
    batch_size, classes, h, w = beliefs.shape
    index = places.where(places >= 0, h * w)[:, None]  # (B, 1, N); the last is dropped
    totals = beliefs.new_zeros(batch_size, classes + 1, h * w + 1)
    totals.scatter_add_(2, index.expand(-1, classes + 1, -1), torch.cat([probs, torch.ones_like(probs[:, :1])], 1))
    sums, counts = totals[..., :-1].split([classes, 1], dim=1)
    return torch.where(counts > 0, sums / counts.clamp(min=1), beliefs.flatten(2)).view(beliefs.shape)


def find_places(positions: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """
    The site (B, h w) int64 of a grid of (h, w) over the whole image that each cell of an action grid of as many sites
    shows at its centre, `VOID_SITE` for padding; `positions` (B, H, W) are a [`~rss_hf.data.SegmentationDataset`]'s.
    """
    (height, width), (h, w) = positions.shape[-2:], grid
    rows, columns = (
        (2 * torch.arange(sites, device=positions.device) + 1) * pixels // (2 * sites)
        for sites, pixels in ((h, height), (w, width))
    )
    centres = positions[:, rows[:, None], columns].flatten(1)
    sites = centres // POSITIONS * h // POSITIONS * w + centres % POSITIONS * w // POSITIONS
    return sites.where(centres >= 0, VOID_SITE)
