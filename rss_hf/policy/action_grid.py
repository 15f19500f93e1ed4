"""Progressive scale rewards (PSR): on which grid to act, coarse first, finer as training goes on."""

import math


def action_grid(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """The grid (h, w) of sites `stride` pixels apart that covers an image of `size` = (H, W) pixels, rounded up."""
    return math.ceil(size[0] / stride), math.ceil(size[1] / stride)


class ProgressiveScales:
    """
    Chooses the stride of the action grid (reconstruction: the paper's own schedule was not available). A coarse grid
    has few sites, so an image-level reward says more about each of them; a fine one can express more.

    Args:
        scales (`list[int]`): strides of the action grid in pixels, coarse to fine, each above the next.
        schedule (`str`):
            - `"progress"`: the strides before the last share the first `warmup` of training evenly.
            - `"policy"`: one stride finer whenever the mean entropy logged at the present one has fallen below half of
              log C. Decided from the log alone, so that it costs no device synchronisation and resumes with the run.
        warmup (`float`): fraction of training in [0, 1] that `"progress"` spends before the last stride.

    Raises:
        ValueError: if the strides do not descend to at least 1, or the schedule is unknown.
    """

    SCHEDULES = ("progress", "policy")

    def __init__(self, scales: list[int], schedule: str = "progress", warmup: float = 0.2):
        if (
            not scales
            or min(scales) < 1
            or any(coarse <= fine for coarse, fine in zip(scales, scales[1:], strict=False))
        ):
            raise ValueError(f"scales must be strides in pixels from coarse to fine, as in [16, 8, 4]; got {scales}.")
        if schedule not in self.SCHEDULES:
            raise ValueError(f"scale_schedule must be one of {self.SCHEDULES}, got {schedule!r}.")
        if not 0 <= warmup <= 1:
            raise ValueError(f"scale_warmup is a fraction of training in [0, 1], got {warmup}.")
        self.scales, self.schedule, self.warmup = list(scales), schedule, warmup

    def stride(self, progress: float, log_history: list[dict], num_actions: int) -> int:
        """
        The stride to act at.

        Args:
            progress (`float`): fraction of training done, in [0, 1].
            log_history (`list[dict]`): the Trainer's; `"policy"` reads the last entry with `stride` and `entropy`.
            num_actions (`int`): C.
        """
        if self.schedule == "progress":
            stages = len(self.scales) - 1
            stage = int(progress / self.warmup * stages) if progress < self.warmup else stages
            return self.scales[stage]
        last = next((entry for entry in reversed(log_history) if "stride" in entry), None)
        if last is None:
            return self.scales[0]
        stage = self.scales.index(int(last["stride"]))
        sharp = last["entropy"] < 0.5 * math.log(num_actions)
        return self.scales[min(stage + sharp, len(self.scales) - 1)]
