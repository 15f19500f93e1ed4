"""The confusion matrix and every score that is read off it."""

import torch

from ..constants import IGNORE_INDEX


def check_ignore_index(ignore_index: int, num_labels: int):
    """Raises a ValueError if `ignore_index` is one of the classes."""
    if 0 <= ignore_index < num_labels:
        raise ValueError(
            f"ignore_index={ignore_index} is one of the {num_labels} classes: what is wrongly predicted on its "
            "pixels would not count and IoU would become recall. Use a value outside [0, num_labels)."
        )


def confusion_matrix(
    predictions: torch.Tensor, references: torch.Tensor, num_labels: int, ignore_index: int = IGNORE_INDEX
) -> torch.Tensor:
    """
    Counts the pixels of every (reference, prediction) pair of classes. Nothing is read back from an accelerator.

    Args:
        predictions (`torch.Tensor` of shape `(..., H, W)`): integer class maps in [0, C), of any value where void.
        references (`torch.Tensor` of shape `(..., H, W)`): integer class maps in [0, C), or `ignore_index` (void).
        num_labels (`int`): C.
        ignore_index (`int`, *optional*, defaults to 255): The label of void pixels, which are not counted.

    Returns:
        `torch.Tensor` of shape `(C, C)`: int64 counts, a row for each reference class, a column for each prediction.

    Raises:
        ValueError: if the shapes differ, `ignore_index` is one of the classes, or a class lies outside [0, C).
            Classes are checked on the CPU; on an accelerator such a class fails the device's own index assertion.
        TypeError: if the maps are not integer.
    """
    if predictions.shape != references.shape:
        raise ValueError(
            f"predictions {tuple(predictions.shape)} and references {tuple(references.shape)} differ in shape: "
            "resize the logits to the size of the labels first."
        )
    if predictions.is_floating_point() or references.is_floating_point():
        raise TypeError(
            f"Class maps must be integer, got predictions {predictions.dtype} and references {references.dtype}: "
            "take the argmax of logits first."
        )
    check_ignore_index(ignore_index, num_labels)
    predictions, references = predictions.long(), references.long()
    counted = references != ignore_index
    lowest, highest = torch.minimum(predictions, references), torch.maximum(predictions, references)
    outside = counted & ((lowest < 0) | (highest >= num_labels))
    if outside.device.type == "cpu" and outside.any():
        raise ValueError(
            f"Found reference {references[outside][0]} with prediction {predictions[outside][0]}, outside the classes "
            f"[0, {num_labels}) and not ignore_index={ignore_index}: set num_labels to the number of classes of the "
            "data and mark void pixels with ignore_index."
        )
    # One bin a pair and a last one for void. -1 is no bin: an accelerator's scatter_add_ refuses it.
    bins = torch.where(counted, references * num_labels + predictions, num_labels**2)
    bins = bins.masked_fill(outside, -1).flatten()
    counts = bins.new_zeros(num_labels**2 + 1).scatter_add_(0, bins, torch.ones_like(bins))
    return counts[:-1].view(num_labels, num_labels)


def segmentation_scores(confusion: torch.Tensor, class_names: list[str] | None = None) -> dict[str, float]:
    """
    The scores of a whole split, in [0, 1], by the protocol of PASCAL VOC: counts are summed over all images first and
    divided last, so a score of a split is not the mean of its images' scores.

    Args:
        confusion (`torch.Tensor` of shape `(C, C)`): integer counts, rows reference, columns prediction.
        class_names (`list[str]`, *optional*, defaults to `["0", "1", ...]`): The names of the C classes.

    Returns:
        `dict[str, float]`: `mean_iou` (over the classes present in a reference or a prediction), `mean_accuracy` (over
        the classes present in a reference), `overall_accuracy`, and for each class `iou_<name>` and
        `accuracy_<name>`. A score of a class that is absent is NaN and left out of the means.

    Raises:
        ValueError: if the confusion matrix is not square, or not of as many classes as there are names.
    """
    num_labels = len(confusion)
    class_names = [str(label) for label in range(num_labels)] if class_names is None else class_names
    if confusion.shape != (len(class_names), len(class_names)):
        raise ValueError(
            f"A confusion matrix of shape {tuple(confusion.shape)} does not fit {len(class_names)} class names: "
            "give a square matrix and one name for each of its rows."
        )
    confusion = confusion.cpu().double()
    hits, references, predictions = confusion.diagonal(), confusion.sum(dim=1), confusion.sum(dim=0)
    iou = hits / (references + predictions - hits)
    accuracy = hits / references
    return {
        "mean_iou": iou.nanmean().item(),
        "mean_accuracy": accuracy.nanmean().item(),
        "overall_accuracy": (hits.sum() / references.sum()).item(),
        **{f"iou_{name}": value for name, value in zip(class_names, iou.tolist(), strict=True)},
        **{f"accuracy_{name}": value for name, value in zip(class_names, accuracy.tolist(), strict=True)},
    }
