"""What must stop a run: numbers that are not finite, and the signal to end."""

import signal
import threading
from types import FrameType
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback


class FiniteWatch:
    """
    Remembers, on the device, the first step whose loss was not finite, and the images of each step since the last
    check. Nothing waits for the device but [`~FiniteWatch.check`].
    """

    def __init__(self):
        self._first: torch.Tensor | None = None
        self._images: dict[int, list[Any]] = {}

    def watch(self, step: int, loss: torch.Tensor, inputs: dict[str, Any]) -> None:
        """Looks at the loss () of a batch at `step`, counted from 0."""
        first = loss.new_full((), torch.inf) if self._first is None else self._first
        self._first = torch.where(loss.isfinite(), first, first.clamp(max=step))
        self._images.setdefault(step, []).append(inputs.get("id", inputs.get("image_index")))

    def check(self, reduce) -> None:
        """
        Raises a FloatingPointError where a loss was not finite on any process; `reduce` takes the least over all.
        """
        if self._first is None:
            return
        first = reduce(self._first).item()
        images, self._first, self._images = self._images, None, {}
        if first != torch.inf:
            names = [entry.tolist() if isinstance(entry, torch.Tensor) else entry for entry in images.get(first, [])]
            where = f", images {', '.join(map(str, names))}" if any(name is not None for name in names) else ""
            raise FloatingPointError(
                f"The loss is not finite at step {int(first) + 1}{where}. Nothing of it was saved. Lower "
                "learning_rate, or look for a reward with values that are not numbers or very large."
            )


def check_weights(model: nn.Module) -> None:
    """Raises a FloatingPointError that names the first tensor of a model that is not finite."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise FloatingPointError(
                f"The weight {name} is not finite, so the model is not saved; the last checkpoint is whole. Lower "
                "learning_rate and resume from it."
            )


class StopSignal(TrainerCallback):
    """
    On SIGTERM, which schedulers send before they kill, or where [`~StopSignal.stop`] was called: a checkpoint at the
    next step that one can be resumed from, and the end of training. Several processes agree on the step of a SIGTERM
    at the next log, since each is told at its own time.

    Attributes:
        ending (`BaseException`, *optional*): what the run is to end with.
        stopped (`bool`): whether training was ended.
    """

    def __init__(self, num_iterations: int, agree):
        self.num_iterations, self.agree = num_iterations, agree
        self.received = False  # by this process
        self.ending: BaseException | None = None  # the same on all processes
        self.stopped = False
        self._previous: Any = None

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():  # elsewhere Python sets no handlers
            self._previous = signal.signal(signal.SIGTERM, self._receive)
        return self

    def __exit__(self, *_):
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True

    def stop(self, ending: BaseException) -> None:
        """Ends training at the next step that can be resumed from; to be called on all processes."""
        self.ending = self.ending or ending

    def on_step_end(self, args, state, control, **kwargs):
        if self.ending is None:
            alone = args.world_size == 1
            if self.received if alone else control.should_log and self.agree(self.received):
                self.ending = SystemExit(128 + signal.SIGTERM)
        if self.ending is not None and state.global_step % self.num_iterations == 0:
            control.should_save = control.should_training_stop = self.stopped = True
