"""Objects, areas and skeletons against plain counts."""

import pytest
import torch

from rss_hf.rewards import cl_dice, class_area, object_count
from rss_hf.rewards.objects import count_components
from rss_hf.rewards.skeleton import skeleton


def components(mask, diagonal=True):
    """By flood fill."""
    left, count = set(map(tuple, mask.nonzero().tolist())), 0
    while left:
        count += 1
        stack = [left.pop()]
        while stack:
            y, x = stack.pop()
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if (diagonal or not dy or not dx) and (near := (y + dy, x + dx)) in left:
                        left.remove(near)
                        stack.append(near)
    return count


def holes(mask):
    """4-connected parts of the outside, but for the one around."""
    return components(~torch.nn.functional.pad(mask, (1, 1, 1, 1)), diagonal=False) - 1


def random_masks(size, share, count=40):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, *size, generator=generator) < share


@pytest.mark.parametrize("size", [(8, 9), (1, 12), (12, 1), (16, 16)])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 1.0])
def test_components_are_those_of_a_flood_fill(size, share):
    masks = random_masks(size, share)
    assert count_components(masks).tolist() == [components(mask) for mask in masks]


def test_a_spiral_is_one_component():
    """The longest way that numbers have to go."""
    mask = torch.zeros(1, 17, 17, dtype=torch.bool)
    y, x, dy, dx, length = 0, 0, 0, 1, 16
    while length > 0:
        for _ in range(2):
            for _ in range(length):
                mask[0, y, x] = True
                y, x = y + dy, x + dx
            dy, dx = dx, -dy
        length -= 2
    assert count_components(mask) == components(mask[0]) == 1


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_a_skeleton_is_connected_as_its_mask_is(share):
    """Noise, and the same in blocks, whose parts are thick."""
    for masks in (
        random_masks((12, 12), share),
        random_masks((5, 5), share).repeat_interleave(4, 1).repeat_interleave(3, 2),
    ):
        thin = skeleton(masks)
        assert not (thin & ~masks).any()
        assert [components(part) for part in thin] == [components(mask) for mask in masks]
        assert [holes(part) for part in thin] == [holes(mask) for mask in masks]
        assert torch.equal(skeleton(thin), thin)


def test_a_skeleton_is_thin_and_keeps_ends():
    mask = torch.zeros(1, 9, 20, dtype=torch.bool)
    mask[:, 2:7, 2:18] = True
    thin = skeleton(mask)[0]
    assert thin.sum() <= 16 and (thin.sum(0) <= 2).all() and thin[:, 6:14].sum() == 8
    line = torch.zeros(1, 5, 9, dtype=torch.bool)
    line[0, 2, 1:8] = True
    assert torch.equal(skeleton(line), line)
    square = torch.zeros(1, 6, 6, dtype=torch.bool)
    square[:, 2:4, 2:4] = True
    assert skeleton(square).any()


def test_cl_dice_rewards_connection():
    """A road with a gap of a pixel loses more than one that is a pixel thinner all along."""
    reference = torch.zeros(1, 11, 30, dtype=torch.int64)
    reference[:, 4:7] = 1
    gap, thinner = reference.clone(), reference.clone()
    gap[:, :, 12:18] = 0
    thinner[:, 4] = 0
    road = {name: (2 * p * s / (p + s)) for name, p, s in (("gap", 1.0, 24 / 30), ("thinner", 1.0, 1.0))}
    assert cl_dice(reference, reference) == 1
    scores = {name: cl_dice(maps, reference).item() for name, maps in (("gap", gap), ("thinner", thinner))}
    assert scores["thinner"] == pytest.approx(1.0) == road["thinner"] and scores["gap"] < 0.97
    assert cl_dice(torch.full_like(reference, 2), reference) == 0
    assert cl_dice(reference, torch.full_like(reference, 255)).isnan()


def ratios(prediction, reference, measure):
    prediction = prediction.where(reference != 255, 255)
    pairs = [(measure(prediction == c), measure(reference == c)) for c in range(5)]
    scores = [1 - abs(n - m) / max(n, m) for n, m in pairs if max(n, m)]
    return sum(scores) / len(scores) if scores else float("nan")


@pytest.mark.parametrize("reward, measure", [(object_count, components), (class_area, lambda mask: mask.sum().item())])
def test_counts_and_areas_are_plain_ones(reward, measure):
    generator = torch.Generator().manual_seed(1)
    predictions, references = torch.randint(4, (2, 12, 7, 9), generator=generator)
    references = references.masked_fill(torch.rand(references.shape, generator=generator) < 0.1, 255)
    references[3] = 255
    expected = [ratios(p, r, measure) for p, r in zip(predictions, references, strict=True)]
    torch.testing.assert_close(reward(predictions, references), torch.tensor(expected), equal_nan=True)
    valid = references.masked_fill(references == 255, 0)
    assert (reward(valid, references)[[0, 1, 2, 4]] == 1).all()


@pytest.mark.parametrize("reward", [cl_dice, object_count, class_area])
def test_references_are_needed(reward):
    with pytest.raises(ValueError, match=f"{reward.__name__} compares with a reference mask"):
        reward(torch.zeros(1, 4, 4, dtype=torch.int64), None)


@pytest.mark.parametrize("reward", [object_count, class_area])
def test_a_class_of_one_pixel_counts(reward):
    reference = torch.zeros(1, 4, 4, dtype=torch.int64)
    prediction = reference.clone()
    prediction[0, 1, 1] = 1
    of_class_0 = 1 if reward is object_count else 15 / 16
    assert reward(prediction, reference).item() == reward(reference, prediction).item() == of_class_0 / 2


def test_the_corner_of_a_line_is_taken_off():
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[0, 1, 1:5] = mask[0, 1:5, 4] = True
    expected = mask.clone()
    expected[0, 1, 4] = False
    assert torch.equal(skeleton(mask), expected)


def test_cl_dice_is_the_mean_over_classes_of_what_skeletons_share():
    generator = torch.Generator().manual_seed(2)
    coarse = torch.randint(4, (2, 6, 3, 4), generator=generator).repeat_interleave(4, 2).repeat_interleave(3, 3)
    predictions, references = coarse
    references = references.masked_fill(torch.rand(references.shape, generator=generator) < 0.05, 255)
    predictions = predictions.where(references != 255, 255)
    for prediction, reference in zip(predictions, references, strict=True):
        scores = []
        for c in reference[reference != 255].unique():
            found, true = prediction == c, reference == c
            thin_found, thin_true = skeleton(found[None])[0], skeleton(true[None])[0]
            both = (thin_found & true).sum() / thin_found.sum(), (thin_true & found).sum() / thin_true.sum()
            scores.append(2 * both[0] * both[1] / (both[0] + both[1]) if found.any() and sum(both) > 0 else 0.0)
        got = cl_dice(prediction[None], reference[None]).item()
        assert got == pytest.approx(float(sum(scores) / len(scores)))
