"""Examples as batches, and the first batch checked."""

from typing import Any

import numpy as np
import torch


def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
    """
    A batch from examples with the same keys: tensors or arrays of equal shape (...) become one tensor of (B, ...), all
    else a list.
    """
    batch = {name: [example[name] for example in examples] for name in examples[0]}
    for name, values in batch.items():
        if any(isinstance(value, np.ndarray) for value in values):
            values = [torch.from_numpy(value) if isinstance(value, np.ndarray) else value for value in values]
            batch[name] = values
        if all(isinstance(value, torch.Tensor) and value.shape == values[0].shape for value in values):
            batch[name] = torch.stack(values)
    return batch


def check_batch(batch: dict[str, Any], num_classes: int, ignore_index: int) -> None:
    """
    Refuses a training batch that cannot be learned from, by what is wrong with it.

    Args:
        batch (`dict[str, Any]`):
            What a collator returns: `pixel_values` (B, 3, H, W) float32 and maybe `labels` (B, H, W) int64.
        num_classes (`int`):
            C, at least 2: labels are ids in [0, C), or `ignore_index`.
        ignore_index (`int`):
            The label of pixels of no class.

    Raises:
        `ValueError`: it says what the batch has, and what to do.
    """
    if num_classes < 2:
        raise ValueError(
            f"num_labels is {num_classes}: with one class there is nothing to learn. Give background an id."
        )
    if "pixel_values" not in batch:
        raise ValueError(f"The examples have no pixel_values, only {sorted(batch)}. Give images that name.")
    _check_pixel_values(batch["pixel_values"])
    if "labels" in batch:
        _check_labels(batch["labels"], batch["pixel_values"].shape, num_classes, ignore_index)


def _check_pixel_values(pixel_values: Any) -> None:
    what = _words(pixel_values)
    if not isinstance(pixel_values, torch.Tensor):
        raise ValueError(f"pixel_values is {what}: crop or resize the images of a batch to one size.")
    if pixel_values.ndim != 4 or pixel_values.shape[1] != 3:
        raise ValueError(f"pixel_values is {what}: it must be (B, 3, H, W), channels before rows.")
    if pixel_values.dtype != torch.float32:
        raise ValueError(f"pixel_values is {what}: it must be float32, normalised as the image processor does.")
    if not pixel_values.isfinite().all():
        raise ValueError(
            f"pixel_values is {what} and holds NaN or infinite values, in {_rows(~pixel_values.isfinite())}."
        )


def _check_labels(labels: Any, shape: torch.Size, num_classes: int, ignore_index: int) -> None:
    """`shape` is that of the pixel values."""
    what = _words(labels)
    if isinstance(labels, list) and any(label is None for label in labels):
        rows = [row for row, label in enumerate(labels) if label is None]
        raise ValueError(
            f"labels is None in {len(rows)} of {len(labels)} examples of a batch, {rows[:10]}: remove them."
        )
    if not isinstance(labels, torch.Tensor):
        raise ValueError(f"labels is {what}: give each example a tensor (H, W) int64 of the size of its pixel_values.")
    if labels.ndim == 4 and labels.shape[1] == 1:
        raise ValueError(f"labels is {what}: remove the channel dimension, labels.squeeze(1).")
    if labels.shape != (shape[0], *shape[2:]):
        raise ValueError(f"labels is {what} and pixel_values {tuple(shape)}: they must be (B, H, W) and (B, 3, H, W).")
    if labels.dtype != torch.int64:
        raise ValueError(f"labels is {what}: class ids are int64. Convert them by labels.long().")
    outside = ((labels < 0) | (labels >= num_classes)) & (labels != ignore_index)
    if outside.any():
        ids = labels[outside].unique().tolist()
        raise ValueError(
            f"labels has ids without a class, {ids[:10]}, in {_rows(outside)}: with {num_classes} classes the ids are "
            f"0 to {num_classes - 1}, and {ignore_index} for pixels of no class (semantic_loss_ignore_index of the "
            "model's configuration). Renumber the labels, or make the model for more classes."
        )


def _words(value: Any) -> str:
    """What a column of a batch is, in few words."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    if not isinstance(value, list):
        return f"a {type(value).__name__}"
    kinds = {
        f"{type(item).__name__} {tuple(item.shape)}" if isinstance(item, torch.Tensor) else type(item).__name__
        for item in value
    }
    return f"a list of {', '.join(sorted(kinds)[:4])}"


def _rows(where: torch.Tensor) -> str:
    """The examples of a batch in which anything of a mask (B, ...) is true."""
    return f"examples {where.flatten(1).any(dim=1).nonzero().flatten().tolist()[:10]} of the batch"
