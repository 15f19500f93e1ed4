"""The confusion matrix and every score that is read off it."""

import datasets
import evaluate
import torch


def _check_ignore_index(ignore_index: int, num_labels: int):
    if 0 <= ignore_index < num_labels:
        raise ValueError(
            f"ignore_index={ignore_index} is one of the {num_labels} classes: what is wrongly predicted on its "
            "pixels would not count and IoU would become recall. Use a value outside [0, num_labels)."
        )


def confusion_matrix(
    predictions: torch.Tensor, references: torch.Tensor, num_labels: int, ignore_index: int = 255
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
    _check_ignore_index(ignore_index, num_labels)
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


class MeanIoU(evaluate.Metric):
    """
    [`segmentation_scores`] as a metric of 🤗 Evaluate. It is constructed directly, `MeanIoU()`, without a download. It
    keeps one table of counts instead of the maps, so its memory does not grow with the data set.

    It counts in one process; [`~rss_hf.evaluation.evaluate_model`] sums over several.

    Example:

    ```python
    >>> import numpy as np
    >>> from rss_hf.metrics import MeanIoU

    >>> metric = MeanIoU()
    >>> metric.add_batch(predictions=[np.array([[0, 1]])], references=[np.array([[0, 0]])])
    >>> metric.compute(num_labels=2)["mean_iou"]
    0.25
    ```
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        if self.num_process != 1:
            raise ValueError(
                f"MeanIoU counts in one process, got num_process={self.num_process}: use "
                "rss_hf.evaluation.evaluate_model, which sums the counts of all processes."
            )
        self._counts = torch.zeros(256, 256, dtype=torch.int64)  # num_labels comes with `compute`; masks are 8-bit
        self._num_maps = 0

    def _info(self) -> evaluate.MetricInfo:
        class_map = datasets.Sequence(datasets.Sequence(datasets.Value("uint8")))
        return evaluate.MetricInfo(
            description="Mean intersection over union of semantic segmentation over a whole split.",
            citation="",
            inputs_description=confusion_matrix.__doc__,
            features=datasets.Features({"predictions": class_map, "references": class_map}),
        )

    def __len__(self) -> int:
        return self._num_maps

    def add(self, *, prediction, reference):
        """Counts one image: `prediction` and `reference` are integer maps (H, W) in [0, 255], arrays or tensors."""
        prediction, reference = torch.as_tensor(prediction).cpu(), torch.as_tensor(reference).cpu()
        self._counts += confusion_matrix(prediction, reference, len(self._counts), ignore_index=-1)
        self._num_maps += 1

    def add_batch(self, *, predictions, references):
        """Counts several images: sequences of integer maps (H, W) in [0, 255], whose sizes may differ by image."""
        if len(predictions) != len(references):
            raise ValueError(f"Got {len(predictions)} predictions but {len(references)} references: give pairs.")
        for prediction, reference in zip(predictions, references, strict=True):
            self.add(prediction=prediction, reference=reference)

    def compute(
        self, *, predictions=None, references=None, num_labels: int, ignore_index: int = 255, class_names=None
    ) -> dict[str, float]:
        """
        The scores of all that was added, `predictions` and `references` included where given, as
        [`segmentation_scores`] returns them. The metric is empty afterwards.

        Raises:
            ValueError: if nothing was added, or a label lies outside [0, `num_labels`) and is not `ignore_index`.
        """
        if predictions is not None:
            self.add_batch(predictions=predictions, references=references)
        if self._num_maps == 0:
            raise ValueError("Nothing to compute: call add or add_batch, or give predictions and references.")
        _check_ignore_index(ignore_index, num_labels)
        counts, self._num_maps = self._counts, 0
        self._counts = torch.zeros_like(counts)
        counts[torch.arange(len(counts)) == ignore_index] = 0
        confusion = counts[:num_labels, :num_labels]
        if confusion.sum() != counts.sum():
            labels = counts.nonzero().amax(dim=0).tolist()
            raise ValueError(
                f"Found references up to {labels[0]} and predictions up to {labels[1]}, outside the classes "
                f"[0, {num_labels}) and not ignore_index={ignore_index}: set num_labels to the number of classes of "
                "the data and mark void pixels with ignore_index."
            )
        return segmentation_scores(confusion, class_names)
