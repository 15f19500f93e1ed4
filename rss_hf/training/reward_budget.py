"""How many maps were scored, how many may be, and what of it the progress bar shows."""

import time
from pathlib import Path

import torch
from accelerate import Accelerator
from transformers import ProgressCallback, TrainerCallback

from ..feedback import FeedbackStore
from ..judges import Judge


class RewardCalls:
    """
    Maps that were scored on all processes since the run began, before it was resumed too. With judges among the
    rewards: those that judges were asked about, their answers from disk not counted.

    Args:
        rewards (`list[Callable]`): of training and of evaluation.
        accelerator (`Accelerator`): sums over processes.
        limit (`int`, *optional*): how many there may be.
        folder (`Path`): where judges keep their answers that have no store of their own.

    Attributes:
        total (`int`): the maps.
    """

    def __init__(self, rewards: list, accelerator: Accelerator, limit: int | None, folder: Path):
        self.judges = list({id(reward): reward for reward in rewards if isinstance(reward, Judge)}.values())
        self.accelerator, self.limit = accelerator, limit
        self.total = 0
        self._seen = sum(judge.asked for judge in self.judges)
        if missing := [judge for judge in self.judges if judge.store is None]:
            store = FeedbackStore(folder)
            for judge in missing:
                judge.store = store

    def add(self, num_maps: int) -> None:
        """Counts a draw of `num_maps` maps on this process, or what judges were asked since the last call."""
        if not self.judges:
            self.total += num_maps * self.accelerator.num_processes
            return
        asked = sum(judge.asked for judge in self.judges)
        new = torch.tensor(asked - self._seen, device=self.accelerator.device)
        self.total, self._seen = self.total + int(self.accelerator.reduce(new, reduction="sum")), asked

    def affords(self, num_maps: int) -> bool:
        """Whether a draw of `num_maps` maps on all processes stays within the limit."""
        return self.limit is None or self.total + num_maps * max(1, len(self.judges)) <= self.limit

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What a checkpoint keeps."""
        return {"total": torch.tensor(self.total)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Goes on from there; from an empty one, at 0."""
        self.total = int(state["total"]) if state else 0


class ShowCalls(TrainerCallback):
    """Shows calls, calls a second and what is left of them beside the progress bar, at each log."""

    def __init__(self, calls: RewardCalls, bars: list[TrainerCallback]):
        self.calls, self.bars = calls, bars
        self._last: tuple[float, int] | None = None

    def on_log(self, args, state, control, **kwargs):
        now, total = time.perf_counter(), self.calls.total
        shown = {"calls": total}
        if self._last is not None:
            shown["calls/s"] = f"{(total - self._last[1]) / max(now - self._last[0], 1e-9):.3g}"
        if self.calls.limit is not None:
            shown["left"] = self.calls.limit - total
        self._last = now, total
        for bar in self.bars:
            if isinstance(bar, ProgressCallback) and bar.training_bar is not None:
                bar.training_bar.set_postfix(shown)
