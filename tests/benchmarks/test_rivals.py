"""The losses that reward is compared with, against what they are for certain predictions, and by hand."""

import pytest
import rivals
import torch
import torch.nn.functional as F

from rss_hf.rewards import dice, mean_iou


GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.randint(3, (1, 6, 7), generator=GENERATOR)
MAPS = torch.randint(3, (1, 6, 7), generator=GENERATOR)


def certain(maps):
    return 100.0 * F.one_hot(maps, 3).movedim(-1, 1).float()


def with_void(labels):
    labels = labels.clone()
    labels[:, :2] = 255
    return labels


@pytest.mark.parametrize("labels", [LABELS, with_void(LABELS)], ids=["all", "void"])
@pytest.mark.parametrize("loss, score", [(rivals.lovasz_softmax, mean_iou), (rivals.soft_dice, dice)])
def test_of_a_certain_map_a_loss_is_1_minus_its_score(loss, score, labels):
    torch.testing.assert_close(loss(certain(MAPS), labels), 1 - score(MAPS, labels)[0])
    assert loss(certain(LABELS), labels).abs() < 1e-6


def test_boundaries_count_five_times_and_lines_around_objects_are_boundaries():
    labels = torch.zeros(1, 12, 12, dtype=torch.int64)
    labels[:, :, 6:] = 1
    logits = torch.randn(1, 3, 12, 12, generator=GENERATOR)
    for line in (False, True):
        if line:
            labels[:, :, 6] = 255
        near = torch.zeros(1, 12, 12, dtype=torch.bool)
        near[:, :, 3:9] = True  # columns 5 and 6, and two to each side
        if line:  # filled from the left, which comes before the right
            near = near.roll(1, 2)
        weights = (1.0 + 4 * near) * (labels != 255)
        losses = F.cross_entropy(logits, labels, ignore_index=255, reduction="none")
        expected = (weights * losses).sum() / weights.sum()
        torch.testing.assert_close(rivals.boundary_cross_entropy(logits, labels), expected)


def test_areas_and_tags_know_no_place():
    """Shifted maps have the same loss; it is least where areas are those of the labels."""
    logits = torch.randn(1, 3, 6, 7, generator=GENERATOR)
    for loss in (rivals.areas, rivals.tags, rivals.classifier):
        torch.testing.assert_close(loss(logits, LABELS), loss(logits, LABELS.roll(2, 1)))
        assert loss(certain(LABELS), LABELS) < loss(certain(torch.zeros_like(LABELS)), LABELS)
    share = torch.bincount(LABELS.flatten(), minlength=3) / LABELS[0].numel()
    known = share.log().view(1, 3, 1, 1).expand(1, 3, 6, 7)
    torch.testing.assert_close(rivals.areas(known, LABELS), -(share * share.log()).sum())
