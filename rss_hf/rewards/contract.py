"""
What a reward is, what it may read, and how one is called.

A reward is any callable `reward(predictions, references=None, **columns)`:

- `predictions` (N, H, W) int64 class maps;
- `references` (N, H, W) int64 in [0, C), or 255 where void, whatever the model calls it; None where the data has none;
- every other column of the batch by its name, one entry a prediction, and `trainer_state`.

It returns (N,) for an image-level or (N, H, W) for a pixel-level reward, the higher the better, NaN or None where it
does not apply: a tensor, an array or a list. It is a black box: never differentiated.
"""

import copy
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from ..constants import IGNORE_INDEX
from ..policy import upsample_actions
from .answers import answer_tensor
from .confusion import cell_means, reference_histogram
from .guarded_call import guarded_call


PIXELS_PER_CALL = 2**26  # of class maps shown to a reward at once: 512 MiB of int64; K maps of a batch may be more
LABELS = "labels"
ARGUMENTS = ("predictions", "references", "trainer_state")  # of every reward, beside the columns
HIDDEN = "image_positions"  # as large as the image, for estimators alone: not copied for each sample


class RewardBatch:
    """
    A batch as rewards see it. It is the wall: the labels go in, and only this package reads them. Whatever else needs
    a column of the batch is given it by [`~RewardBatch.columns`], which never holds the labels.

    Args:
        inputs (`dict[str, Any]`):
            `pixel_values` (B, 3, H', W'), maybe `labels` (B, H, W) int64, and any other column: tensors or lists of B.
        ignore_index (`int`, *optional*, defaults to 255): the label of void pixels.

    Raises:
        ValueError: if the labels are not integer maps of one size, or a column has the name of a reward's own argument
            or not one entry an image.
    """

    def __init__(self, inputs: dict[str, Any], ignore_index: int = IGNORE_INDEX):
        self._columns = {name: column for name, column in inputs.items() if name != LABELS}
        self._references = None
        if (labels := inputs.get(LABELS)) is not None:
            check_labels(labels, len(inputs["pixel_values"]))
            self._references = labels.long().masked_fill(labels == ignore_index, IGNORE_INDEX)
        for name, column in self._columns.items():
            check_column(name, column, len(inputs["pixel_values"]))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), in pixels, of the maps that rewards are shown."""
        maps = self._columns["pixel_values"] if self._references is None else self._references
        return tuple(maps.shape[-2:])

    def columns(self, names: Iterable[str]) -> dict[str, Any]:
        """The columns of these names; a ValueError names those that the batch lacks."""
        if missing := sorted(set(names) - self._columns.keys()):
            raise ValueError(f"The batch lacks {missing}; it has {sorted(self._columns)}.")
        return {name: self._columns[name] for name in names}


def check_labels(labels: Any, batch_size: int) -> None:
    """Refuses what is no batch of label maps. Reads no value of a label."""
    what = f"{labels.dtype} of shape {tuple(labels.shape)}" if isinstance(labels, torch.Tensor) else type(labels)
    if not isinstance(labels, torch.Tensor) or labels.ndim != 3 or len(labels) != batch_size:
        raise ValueError(
            f"labels must be one tensor of shape ({batch_size}, H, W), got {what}: give training images and masks one "
            "size, and masks no channel dimension."
        )
    if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
        raise ValueError(f"labels must be integer class ids, got {what}: convert them by `.long()`.")


def check_column(name: Any, column: Any, batch_size: int) -> None:
    """Refuses what no reward can be given, one entry a map, under its name. Reads no entry."""
    if not isinstance(name, str) or name in ARGUMENTS:
        why = f"rewards have an argument {name!r} of their own" if name in ARGUMENTS else "names are strings"
        raise ValueError(f"No column of the data may be called {name!r}, since {why}: rename the column.")
    if isinstance(column, np.ndarray | torch.Tensor):
        has_entries = column.ndim > 0
    else:
        has_entries = isinstance(column, Sequence) and not isinstance(column, str | bytes)
    if not has_entries or len(column) != batch_size:
        what = f"{len(column)} entries" if has_entries else f"one {type(column).__name__}"
        raise ValueError(f"Column {name!r} must have an entry for each of {batch_size} images, got {what}.")


def histogram_of(batch: RewardBatch, grid: tuple[int, int], num_classes: int) -> torch.Tensor | None:
    """The [`reference_histogram`] (B, C, h, w) of a batch, None without labels."""
    return None if batch._references is None else reference_histogram(batch._references, grid, num_classes)


def reward_name(reward: Callable) -> str:
    """The name a reward is logged under: its `__name__`, that of the function a partial is of, or its class's."""
    if isinstance(reward, functools.partial) and "__name__" not in vars(reward):
        return reward_name(reward.func)
    return str(getattr(reward, "__name__", type(reward).__name__))


def call_reward(
    reward: Callable, actions: torch.Tensor, batch: RewardBatch, trainer_state: Any, timeout: float | None = None
) -> torch.Tensor:
    """
    A reward called on upsampled class maps, its answer checked and brought back to the action grid.

    Args:
        reward (`Callable`): by the contract of this module.
        actions (`torch.Tensor` of shape `(K, B, h, w)`): int64 in [0, C).
        batch ([`RewardBatch`]): of the B images.
        trainer_state: passed on.
        timeout (`float`, *optional*): seconds that a call may take.

    Returns:
        `torch.Tensor` of shape `(K, B)` or `(K, B, h, w)`: float32, NaN where the reward does not apply.

    Raises:
        RuntimeError: if the reward raises, ends the process, or returns what is no answer; it names the reward.
        TimeoutError: if there is no answer in time; it names the reward.
    """
    per_call = max(1, PIXELS_PER_CALL // (actions.shape[1] * math.prod(batch.size)))
    return torch.cat([_call_once(reward, part, batch, trainer_state, timeout) for part in actions.split(per_call)])


def _call_once(reward, actions, batch, trainer_state, timeout) -> torch.Tensor:
    name, (num_samples, batch_size, h, w) = reward_name(reward), actions.shape

    def call():
        columns = {name: _repeat(column, num_samples) for name, column in batch._columns.items() if name != HIDDEN}
        return reward(
            upsample_actions(actions, batch.size).flatten(0, 1),
            references=None if batch._references is None else _repeat(batch._references, num_samples),
            trainer_state=trainer_state,
            **columns,
        )

    answer = guarded_call(name, call, actions.device, trainer_state, timeout)
    values = answer_tensor(name, answer, num_samples * batch_size, batch.size, actions.device)
    if values.ndim == 1:
        return values.view(num_samples, batch_size)
    return cell_means(values, (h, w)).view(num_samples, batch_size, h, w)


def _repeat(column: Any, num_samples: int) -> Any:
    """
    A column of B entries repeated for K samples: K B entries, sample by sample, a tensor of a tensor, else a list. It
    is a copy: what a reward writes into it reaches neither the batch nor another reward.
    """
    if isinstance(column, torch.Tensor):
        return column.detach().repeat(num_samples, *[1] * (column.ndim - 1))
    return [entry for _ in range(num_samples) for entry in copy.deepcopy(column)]
