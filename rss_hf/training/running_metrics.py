"""Means of what is logged, summed on the device between two logs."""

import math

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object


class RunningMetrics:
    """Means, by name, of all values since the last log on all processes; NaN counts in none. Stays on the device."""

    def __init__(self):
        self._moments: dict[str, torch.Tensor] = {}

    def log(self, name: str, values: torch.Tensor) -> None:
        """Adds values of any shape to the mean called `name`."""
        moments = torch.stack([values.detach().nansum(), (~values.isnan()).sum()])
        self._moments[name] = self._moments[name] + moments if name in self._moments else moments

    def log_value(self, name: str, value: float | torch.Tensor) -> None:
        """Adds one number to the mean called `name`."""
        self.log(name, torch.as_tensor(value, dtype=torch.float32))

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

    def flush(self, accelerator: Accelerator) -> dict[str, float]:
        """The means by name over all processes, NaN where no value counts; begins anew."""
        names = list(self._moments)
        if accelerator.num_processes > 1:  # a reward may have logged a metric on one of them alone
            names = sorted(set(gather_object(names)))
        if not names:
            return {}
        none = torch.zeros(2)
        moments = torch.stack([self._moments.get(name, none).to(accelerator.device) for name in names])
        sums, counts = accelerator.reduce(moments, reduction="sum").T.tolist()
        self._moments.clear()
        totals = zip(names, sums, counts, strict=True)
        return {name: total / count if count else math.nan for name, total, count in totals}


def sample_std(by_sample: torch.Tensor) -> torch.Tensor:
    """Standard deviation (B,) over the K samples of (K, B); NaN, without torch's warning, where K is 1."""
    return by_sample.std(0) if len(by_sample) > 1 else torch.full_like(by_sample[0], torch.nan)
