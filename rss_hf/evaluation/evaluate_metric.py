"""The scores of a split as a metric of 🤗 Evaluate, with nothing to download."""

import datasets
import evaluate
import torch

from ..evaluation.metrics import check_ignore_index, confusion_matrix, segmentation_scores


class MeanIoU(evaluate.Metric):
    """
    [`segmentation_scores`] as a metric of 🤗 Evaluate. It is constructed directly, `MeanIoU()`, without a download. It
    keeps one table of counts instead of the maps, so its memory does not grow with the data set.

    It counts in one process; [`~rss_hf.evaluation.evaluate_model`] sums over several.

    Example:

    ```python
    >>> import numpy as np
    >>> from rss_hf.evaluation.evaluate_metric import MeanIoU

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
        check_ignore_index(ignore_index, num_labels)
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
