"""Means of what is logged, summed on the device between two logs."""

import math
from collections.abc import Callable

import torch


class RunningMetrics:
    """Means, by name, of all values since the last log on all processes; NaN counts in none. Stays on the device."""

    def __init__(self):
        self._moments: dict[str, torch.Tensor] = {}

    def log(self, name: str, values: torch.Tensor) -> None:
        """Adds values of any shape to the mean called `name`."""
        moments = torch.stack([values.detach().nansum(), (~values.isnan()).sum()])
        self._moments[name] = self._moments[name] + moments if name in self._moments else moments

    def log_rewards(self, rewards: dict[str, torch.Tensor], total: torch.Tensor) -> None:
        """Adds the rewards (K, B, ...) by name and their weighted sum, with the deviations over samples."""
        for name, values in rewards.items():
            by_sample = values.nanmean((2, 3))  # (K, B)
            self.log(f"reward/{name}/mean", by_sample)
            self.log(f"reward/{name}/std", sample_std(by_sample))
            self.log(f"reward/{name}/missing", by_sample.isnan().float())
        by_sample = total.nanmean((2, 3))
        deviation = sample_std(by_sample)
        self.log("reward", by_sample)
        self.log("reward_std", deviation)
        equal = by_sample.amax(0) == by_sample.amin(0)  # exact, where a deviation would round
        self.log("frac_zero_std", equal.float().where(~deviation.isnan(), torch.nan))

    def flush(self, reduce: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, float]:
        """The means by name, NaN where no value counts; begins anew. `reduce` sums a tensor over all processes."""
        if not self._moments:
            return {}
        sums, counts = reduce(torch.stack(list(self._moments.values()))).T.tolist()
        names = list(self._moments)
        self._moments.clear()
        totals = zip(names, sums, counts, strict=True)
        return {name: total / count if count else math.nan for name, total, count in totals}


class RewardCalls:
    """
    Attributes:
        total (`int`): maps that were scored on all processes since the run began, before it was resumed too.
    """

    def __init__(self):
        self.total = 0

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What a checkpoint keeps."""
        return {"total": torch.tensor(self.total)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Goes on from there; from an empty one, at 0."""
        self.total = int(state["total"]) if state else 0


def sample_std(by_sample: torch.Tensor) -> torch.Tensor:
    """Standard deviation (B,) over the K samples of (K, B); NaN, without torch's warning, where K is 1."""
    return by_sample.std(0) if len(by_sample) > 1 else torch.full_like(by_sample[0], torch.nan)
