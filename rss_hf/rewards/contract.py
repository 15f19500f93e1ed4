"""
What a reward is, what it may read, and how one is called.

A reward is any callable `reward(predictions, ...)`, and it is given what it names:

- `predictions` (N, H, W) int64 class maps, always first;
- `references` (N, H, W) int64 in [0, C), or 255 where void, whatever the model calls it; None without masks;
- `images`, N PIL images (RGB, H x W) as the model saw them; `class_names`; `trainer_state`; `log_metric(name, value)`;
- any column of the data by its name, one entry a prediction.

With `**columns` it is given `references`, `trainer_state` and every column but `pixel_values`, which is large.

It returns (N,) for an image-level or (N, H, W) for a pixel-level reward, the higher the better, NaN or None where it
does not apply: a tensor, an array or a list. It is a black box: never differentiated. It may be `async`.
"""

import copy
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch

from ..constants import IGNORE_INDEX
from ..policy import upsample_actions
from .confusion import reference_histogram


LABELS = "labels"
ARGUMENTS = ("predictions", "references", "images", "class_names", "trainer_state", "log_metric")  # beside the columns
NAMED_ONLY = ("pixel_values", "image_positions")  # as large as images: not given to `**columns`


@dataclass(frozen=True)
class RewardContext:
    """
    What rewards may ask for beside maps and columns.

    Attributes:
        class_names (`list[str]`, *optional*): by class id.
        trainer_state (*optional*): the Trainer's.
        log_metric (`Callable[[str, float], None]`): adds a value to the mean that is logged under a name.
        to_images (`Callable[[torch.Tensor], list[PIL.Image.Image]]`, *optional*):
            from pixel values (B, 3, H, W) to RGB images.
    """

    class_names: list[str] | None = None
    trainer_state: Any = None
    log_metric: Callable[[str, float], None] = lambda name, value: None
    to_images: Callable[[torch.Tensor], list[PIL.Image.Image]] | None = None


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
        self._references, self._images = None, None
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

    def images(self, context: RewardContext) -> list[PIL.Image.Image]:
        """The B images, made once."""
        if self._images is None:
            if context.to_images is None:
                raise ValueError("images cannot be made without an image processor: give the trainer one")
            self._images = context.to_images(self._columns["pixel_values"])
        return self._images

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


def arguments_of(
    reward: Callable, actions: torch.Tensor, batch: RewardBatch, context: RewardContext
) -> tuple[torch.Tensor, dict[str, Any]]:
    """
    The class maps (K B, H, W) of action maps (K, B, h, w), and what else a reward is given with them, by name. A list
    is copied once and its entries are shared by the K maps; a tensor is copied for each.

    Raises:
        ValueError: if the reward asks for what there is not.
    """
    num_samples = len(actions)
    names, takes_all = requested(reward)
    makers = {
        "references": lambda: None if batch._references is None else _repeat(batch._references, num_samples),
        "images": lambda: batch.images(context) * num_samples,
        "class_names": lambda: context.class_names,
        "trainer_state": lambda: context.trainer_state,
        "log_metric": lambda: context.log_metric,
    }
    makers |= {n: lambda column=column: _repeat(column, num_samples) for n, column in batch._columns.items()}
    if takes_all:
        given = {"references", "trainer_state", *batch._columns} - set(NAMED_ONLY)
        names = names | dict.fromkeys(given - names.keys(), False)
    if missing := sorted(n for n, is_required in names.items() if is_required and n not in makers):
        raise ValueError(
            f"it asks for {missing}, which the data does not have; beside images and masks its columns are "
            f"{sorted(set(batch._columns) - {'pixel_values'})}."
        )
    maps = upsample_actions(actions, batch.size).flatten(0, 1)
    if context.to_images is None and not names.get("images"):
        del makers["images"]
    return maps, {n: makers[n]() for n in names if n in makers}


def requested(reward: Callable) -> tuple[dict[str, bool], bool]:
    """The names that a reward asks for beside predictions, with whether it needs each; and whether it takes all."""
    try:
        parameters = list(inspect.signature(reward, follow_wrapped=False).parameters.values())
    except ValueError:  # some of C have none
        return {}, True
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    if parameters and parameters[0].kind in (parameters[0].POSITIONAL_ONLY, parameters[0].POSITIONAL_OR_KEYWORD):
        parameters = parameters[1:]  # predictions
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name: p.default is p.empty for p in parameters if p.kind in by_name}, takes_all


def _repeat(column: Any, num_samples: int) -> Any:
    """
    A column of B entries for K samples: K B entries, sample by sample, a tensor of a tensor, else a list. It is a
    copy: what a reward writes into it reaches neither the batch nor another reward.
    """
    if isinstance(column, torch.Tensor):
        return column.detach().repeat(num_samples, *[1] * (column.ndim - 1))
    return list(copy.deepcopy(column)) * num_samples
