"""The F-measure of boundaries against a plain count."""

import math

import pytest
import torch

from rss_hf.rewards import REWARDS
from rss_hf.rewards.boundary import BoundaryF1, boundary_f1


def boundary(rows, c):
    """Pixels of class c beside one of another class, pixel by pixel."""
    h, w = len(rows), len(rows[0])
    found = set()
    for y in range(h):
        for x in range(w):
            near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            others = [rows[i][j] for i, j in near if 0 <= i < h and 0 <= j < w]
            if rows[y][x] == c and any(o not in (c, 255) for o in others):
                found.add((y, x))
    return found


def fill(rows, width):
    """`width` times: the unlabelled pixels beside a class take it, above before below before left before right."""
    h, w = len(rows), len(rows[0])
    for _ in range(width):
        before, rows = rows, [list(row) for row in rows]
        for y in range(h):
            for x in range(w):
                near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                classes = [before[i][j] for i, j in near if 0 <= i < h and 0 <= j < w and before[i][j] != 255]
                if rows[y][x] == 255 and classes:
                    rows[y][x] = classes[0]
    return rows


def by_hand(prediction, reference, tolerance):
    reference, scores = torch.tensor(fill(reference.tolist(), tolerance + 1)), []
    prediction, reference = prediction.where(reference != 255, 255).tolist(), reference.tolist()
    for c in range(5):
        found, true = boundary(prediction, c), boundary(reference, c)
        if not true:
            continue

        def matched(part, whole):
            return sum(any(math.dist(p, q) <= tolerance for q in whole) for p in part) / len(part) if part else 0

        precision, recall = matched(found, true), matched(true, found)
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return sum(scores) / len(scores) if scores else math.nan


@pytest.mark.parametrize("tolerance", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [(9, 11), (1, 7), (5, 1)])
def test_it_is_the_plain_count(tolerance, size):
    generator = torch.Generator().manual_seed(tolerance)
    coarse = torch.randint(4, (2, 6, 3, 4), generator=generator).repeat_interleave(3, 2).repeat_interleave(3, 3)
    predictions, references = coarse[:, :, : size[0], : size[1]]
    references = references.masked_fill(torch.rand(references.shape, generator=generator) < 0.1, 255)
    got = BoundaryF1(tolerance)(predictions, references)
    expected = torch.tensor([by_hand(p, r, tolerance) for p, r in zip(predictions, references, strict=True)])
    torch.testing.assert_close(got, expected, equal_nan=True)


@pytest.mark.parametrize("width, least", [(1, 1.0), (3, 1.0), (5, 0.9)])  # of wide lines the corners are cut
def test_unlabelled_lines_around_objects_are_boundaries(width, least):
    """As VOC draws them: without an inside no class would have a boundary."""
    true = torch.zeros(1, 24, 24, dtype=torch.int64)
    true[:, 6:18, 6:18] = 1
    outside, inside = width // 2, width - width // 2
    reference = torch.zeros_like(true)
    reference[:, 6 - outside : 18 + outside, 6 - outside : 18 + outside] = 255
    reference[:, 6 + inside : 18 - inside, 6 + inside : 18 - inside] = 1
    assert boundary_f1(true, reference) >= least
    assert boundary_f1(true.roll(5, 2), reference) < 0.9
    assert boundary_f1(torch.zeros_like(true), reference) == 0


def test_large_unlabelled_regions_have_no_boundary():
    reference = torch.zeros(1, 24, 24, dtype=torch.int64)
    reference[:, :, 12:] = 1
    reference[:, 4:20, 4:20] = 255
    prediction = reference.where(reference != 255, 2)
    assert boundary_f1(prediction, reference) == pytest.approx(by_hand(prediction[0], reference[0], 2), abs=1e-6)
    assert boundary_f1(reference.where(reference != 255, 1), reference) < 1  # wrong beside the true boundary


def test_right_shifted_and_absent():
    reference = torch.zeros(1, 12, 12, dtype=torch.int64)
    reference[:, 3:8, 3:8] = 1
    assert boundary_f1(reference, reference) == 1
    assert boundary_f1(reference.roll(2, 2), reference) == 1  # within the tolerance
    assert 0 < boundary_f1(reference.roll(4, 2), reference) < 1
    assert boundary_f1(torch.zeros_like(reference), reference) == 0
    assert boundary_f1(reference, torch.zeros_like(reference)).isnan()
    assert boundary_f1(reference, torch.full_like(reference, 255)).isnan()
    with pytest.raises(ValueError, match="compares with a reference mask"):
        boundary_f1(reference, None)
    with pytest.raises(ValueError, match="tolerance must be at least 0 pixels, got -1"):
        BoundaryF1(-1)


def test_classes_of_the_reference_alone_count_and_the_tolerance_is_2():
    reference = torch.zeros(1, 12, 12, dtype=torch.int64)
    reference[:, 3:8, 3:8], reference[:, 9:, 2:6] = 1, 2
    for prediction in (reference.clamp(max=1), reference.roll(3, 2)):
        expected = by_hand(prediction[0], reference[0], 2)
        assert REWARDS["boundary_f1"](prediction, reference).item() == pytest.approx(expected) and expected < 1
