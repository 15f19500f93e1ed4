"""Training that may be stopped anywhere, and that stops by itself where its numbers break."""

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput, rotate_checkpoints
from transformers.utils import logging

from .checkpoints import WRITING, check_checkpoint, compare_settings, find_checkpoint, write_manifest
from .watch import FiniteWatch, StopSignal, check_weights


logger = logging.get_logger(__name__)


class SafeTrainingMixin:
    """
    The part of a [`~transformers.Trainer`] that loses nothing, to be inherited before it. A checkpoint is written
    beside its place and moved there when it is whole; what is resumed from is checked by sums; weights that are not
    finite are never saved; SIGTERM ends a run with a checkpoint.
    """

    _writing: Path | None = None  # where a checkpoint is being written

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.finite = FiniteWatch()
        self.stop_signal = StopSignal(self.steps_a_batch(), self._any_process)
        self.add_callback(self.stop_signal)

    def steps_a_batch(self) -> int:
        """Steps in a row on one batch: a run can be resumed from multiples of it."""
        return 1

    def run_settings(self) -> dict[str, Any]:
        """The settings that a resumed run is expected to share with the one it goes on from."""
        raise NotImplementedError

    def is_finished(self, checkpoint: str, state: TrainerState) -> bool:
        """Whether nothing is left to train after a checkpoint."""
        return 0 < self.args.max_steps <= state.global_step

    def load_state(self, checkpoint: str | None) -> None:
        """Restores what has a state beside model, optimizer and schedule; None begins anew."""

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> TrainOutput:
        """
        As [`~transformers.Trainer.train`], but safe to stop at any time. `resume_from_checkpoint=True` goes on from
        the newest whole checkpoint, if there is one. A run that has all of its `max_steps` is not trained further. On
        SIGTERM a checkpoint is written, and the process ends with exit code 143.

        Raises:
            DamagedCheckpoint: if the checkpoint asked for is not whole.
            FloatingPointError: at the next log after a loss that is not finite, or instead of saving such weights.
        """
        checkpoint = resume_from_checkpoint or None
        if checkpoint is True:
            checkpoint = find_checkpoint(self.args.output_dir)
        if checkpoint is not None:
            compare_settings(check_checkpoint(checkpoint), as_json(self.run_settings()))
            state = TrainerState.load_from_json(str(Path(checkpoint, TRAINER_STATE_NAME)))
            if self.is_finished(checkpoint, state):
                return self._take_over(checkpoint, state)
        with self.stop_signal:
            output = super().train(checkpoint, **kwargs)
        self.check_finite()
        if self.stop_signal.stopped:
            logger.warning(f"Stopped with a checkpoint at step {self.state.global_step}.")
            raise self.stop_signal.ending
        return output

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.finite.watch(self.state.global_step, loss, inputs)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            self.check_finite()
        super().log(logs, start_time)

    def check_finite(self) -> None:
        """Raises a FloatingPointError if a loss since the last call was not finite on any process."""
        self.finite.check(lambda first: self.accelerator.gather(first[None]).amin())

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As [`~transformers.Trainer.save_model`], but weights that are not finite are never saved."""
        check_weights(self.accelerator.unwrap_model(self.model))
        super().save_model(output_dir, _internal_call)

    def _any_process(self, flag: bool) -> bool:
        return bool(self.accelerator.gather(torch.tensor([flag], device=self.args.device)).any())

    def _take_over(self, checkpoint: str, state: TrainerState) -> TrainOutput:
        """Takes on what a run that has all of its steps left behind."""
        logger.warning(f"{checkpoint} is of a finished run, {state.global_step} steps: nothing is left to train.")
        self.state = state
        self._load_from_checkpoint(checkpoint)
        self.load_state(checkpoint)
        if self.args.load_best_model_at_end and state.best_model_checkpoint is not None:
            self._load_best_model()
        return TrainOutput(state.global_step, math.nan, {})

    def _save_checkpoint(self, model, trial) -> None:
        self.check_finite()
        output_dir, name = self._get_output_dir(trial), f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        place, beside = Path(output_dir, name), Path(output_dir, WRITING)
        if self.args.should_save:
            shutil.rmtree(beside, ignore_errors=True)  # of a run that was killed
        self.accelerator.wait_for_everyone()
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        self._writing = beside
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self._writing, self.args.save_total_limit = None, limit
        if self.state.best_global_step == self.state.global_step:
            self.state.best_model_checkpoint = str(place)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            self.state.save_to_json(str(beside / name / TRAINER_STATE_NAME))
            write_manifest(beside / name, as_json(self.run_settings()))
            shutil.rmtree(place, ignore_errors=True)
            os.replace(beside / name, place)
            shutil.rmtree(beside)
            best = self.state.best_model_checkpoint
            rotate_checkpoints(output_dir, save_total_limit=limit, best_model_checkpoint=best, use_mtime=True)
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(place))

    def _get_output_dir(self, trial) -> str:
        return super()._get_output_dir(trial) if self._writing is None else str(self._writing)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self._writing is None:  # a checkpoint is pushed from its place
            super()._push_from_checkpoint(checkpoint_folder)


def as_json(settings: dict[str, Any]) -> dict[str, Any]:
    """The same as it is read from a file."""
    return json.loads(json.dumps(settings, default=str))
