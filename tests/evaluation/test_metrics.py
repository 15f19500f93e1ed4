import math

import evaluate
import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from rss_hf.evaluation.evaluate_metric import MeanIoU
from rss_hf.evaluation.metrics import confusion_matrix, segmentation_scores


NUM_LABELS = 5
VOID = 255


@pytest.fixture
def maps():
    """Three maps of 5 classes with void; class 3 is in no map, class 4 is predicted but in no reference."""
    generator = torch.Generator().manual_seed(0)
    references = torch.randint(0, 3, (3, 13, 17), generator=generator)
    predictions = torch.tensor([0, 1, 2, 4])[torch.randint(0, 4, (3, 13, 17), generator=generator)]
    references[torch.rand(references.shape, generator=generator) < 0.2] = VOID
    return predictions, references


def count_pairs(predictions, references):
    confusion = torch.zeros(NUM_LABELS, NUM_LABELS, dtype=torch.int64)
    for prediction, reference in zip(predictions.flatten().tolist(), references.flatten().tolist(), strict=True):
        if reference != VOID:
            confusion[reference, prediction] += 1
    return confusion


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_confusion_matrix_counts_every_pair(maps, dtype):
    predictions, references = maps
    confusion = confusion_matrix(predictions.to(dtype), references.to(dtype), NUM_LABELS)
    assert confusion.dtype == torch.int64
    assert torch.equal(confusion, count_pairs(predictions, references))


def test_confusion_matrix_of_a_batch_is_the_sum_over_its_images(maps):
    predictions, references = maps
    of_images = [confusion_matrix(p, r, NUM_LABELS) for p, r in zip(predictions, references, strict=True)]
    assert torch.equal(torch.stack(of_images).sum(dim=0), confusion_matrix(predictions, references, NUM_LABELS))


def test_predictions_on_void_do_not_count():
    predictions, references = torch.tensor([[0, 255, -7]]), torch.tensor([[0, -100, -100]])
    confusion = confusion_matrix(predictions, references, 2, ignore_index=-100)
    assert confusion.tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize(("prediction", "reference"), [(5, 0), (0, 5), (-1, 0), (0, -1), (255, 0)])
def test_classes_outside_the_range_are_refused(prediction, reference):
    with pytest.raises(ValueError, match=f"reference {reference} with prediction {prediction}, outside .*0, 5"):
        confusion_matrix(torch.tensor([[0, prediction]]), torch.tensor([[0, reference]]), NUM_LABELS)


def test_maps_that_do_not_fit_are_refused(maps):
    predictions, references = maps
    with pytest.raises(ValueError, match=r"\(3, 13, 17\) and references \(2, 13, 17\)"):
        confusion_matrix(predictions, references[:2], NUM_LABELS)
    with pytest.raises(TypeError, match="float32"):
        confusion_matrix(predictions.float(), references, NUM_LABELS)
    with pytest.raises(ValueError, match="ignore_index=0 is one of the 5 classes"):
        confusion_matrix(predictions, references, NUM_LABELS, ignore_index=0)


def test_scores_equal_torchmetrics(maps):
    predictions, references = maps
    scores = segmentation_scores(confusion_matrix(predictions, references, NUM_LABELS))

    def peer(metric, average):
        return metric(num_classes=NUM_LABELS, average=average, ignore_index=VOID)(predictions, references)

    iou, accuracy = peer(MulticlassJaccardIndex, "none"), peer(MulticlassAccuracy, "none")
    for label in (0, 1, 2):
        assert scores[f"iou_{label}"] == pytest.approx(iou[label].item(), abs=1e-6)
        assert scores[f"accuracy_{label}"] == pytest.approx(accuracy[label].item(), abs=1e-6)
    assert scores["overall_accuracy"] == pytest.approx(peer(MulticlassAccuracy, "micro").item(), abs=1e-6)
    assert math.isnan(scores["iou_3"]) and math.isnan(scores["accuracy_3"])
    assert scores["iou_4"] == 0.0 and math.isnan(scores["accuracy_4"])
    assert scores["mean_iou"] == pytest.approx(iou[:3].sum().item() / 4, abs=1e-6)
    assert scores["mean_accuracy"] == pytest.approx(accuracy[:3].mean().item(), abs=1e-6)


def test_scores_of_a_matrix_counted_by_hand():
    scores = segmentation_scores(torch.tensor([[3, 1, 0], [2, 4, 0], [0, 0, 0]]), ["sky", "car", "absent"])
    assert scores["iou_sky"] == pytest.approx(3 / 6) and scores["iou_car"] == pytest.approx(4 / 7)
    assert scores["accuracy_sky"] == pytest.approx(3 / 4) and scores["accuracy_car"] == pytest.approx(4 / 6)
    assert scores["mean_iou"] == pytest.approx((3 / 6 + 4 / 7) / 2)
    assert scores["overall_accuracy"] == pytest.approx(7 / 10)
    assert list(scores)[:3] == ["mean_iou", "mean_accuracy", "overall_accuracy"] and len(scores) == 9


def test_counts_beyond_float32_stay_exact():
    scores = segmentation_scores(torch.tensor([[2**24 + 1, 0], [1, 2**24]]))
    assert scores["iou_0"] == (2**24 + 1) / (2**24 + 2)


def test_names_must_fit_the_matrix():
    with pytest.raises(ValueError, match=r"\(2, 2\) does not fit 3 class names"):
        segmentation_scores(torch.zeros(2, 2, dtype=torch.int64), ["a", "b", "c"])


def test_metric_gives_the_same_scores(maps):
    predictions, references = maps
    expected = segmentation_scores(confusion_matrix(predictions, references, NUM_LABELS))
    metric = MeanIoU()
    assert isinstance(metric, evaluate.Metric)

    at_once = metric.compute(predictions=predictions, references=references, num_labels=NUM_LABELS)
    assert at_once == pytest.approx(expected, nan_ok=True)

    metric.add_batch(predictions=predictions[:2].numpy(), references=references[:2].numpy())
    metric.add(prediction=predictions[2].tolist(), reference=references[2].tolist())
    assert len(metric) == 3
    assert metric.compute(num_labels=NUM_LABELS) == pytest.approx(expected, nan_ok=True)

    with pytest.raises(ValueError, match="Nothing to compute"):
        metric.compute(num_labels=NUM_LABELS)


def test_metric_takes_maps_of_different_sizes_and_combines():
    pairs = [(np.array([[0, 1]], dtype=np.uint8), np.array([[0, 255]], dtype=np.uint8)), (np.eye(2, dtype=int),) * 2]
    metric = evaluate.combine([MeanIoU()])
    metric.add_batch(predictions=[p for p, _ in pairs], references=[r for _, r in pairs])
    assert metric.compute(num_labels=2)["mean_iou"] == 1.0


def test_metric_refuses_what_it_cannot_count(maps):
    predictions, references = maps
    metric = MeanIoU()
    with pytest.raises(ValueError, match="3 predictions but 2 references"):
        metric.add_batch(predictions=predictions, references=references[:2])
    with pytest.raises(ValueError, match=r"predictions up to 4, outside the classes \[0, 3\)"):
        metric.compute(predictions=predictions, references=references, num_labels=3)
    with pytest.raises(ValueError, match="ignore_index=1 is one of the 5 classes"):
        metric.compute(predictions=predictions, references=references, num_labels=NUM_LABELS, ignore_index=1)
    with pytest.raises(ValueError, match="num_process=2"):
        MeanIoU(num_process=2, process_id=0, experiment_id="two")
