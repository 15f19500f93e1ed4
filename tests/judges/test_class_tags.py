"""Rewards of tags and of areas, by hand."""

from math import log

import pytest
import torch

from rss_hf.judges import class_areas, class_tags


NAMES = ["other", "red", "blue"]


@pytest.fixture
def maps():
    """100 pixels: all other; 10 red; 1 red; 10 red and 30 blue."""
    maps = torch.zeros(4, 10, 10, dtype=torch.int64)
    maps[1, 0] = 1
    maps[2, 0, 0] = 1
    maps[3, 0], maps[3, 1:4] = 1, 2
    return maps


def test_tags_by_hand(maps):
    got = class_tags(maps, class_tags=[["other", "red"]] * 4, class_names=NAMES)
    expected = [log(0.02 / 0.07), 0.0, log(0.03 / 0.07), -log(0.32 / 0.02)]
    torch.testing.assert_close(got, torch.tensor(expected) / 3)


@pytest.mark.parametrize("tags", [["red", "blue"], (1, 2), "red, blue", torch.tensor([1, 2])])
def test_tags_are_names_or_ids_or_a_text(maps, tags):
    assert class_tags(maps[3:], class_tags=[tags], class_names=NAMES).item() == pytest.approx(-log(0.62 / 0.02) / 3)


def test_tags_that_are_unknown_or_wrong(maps):
    got = class_tags(maps[:2], class_tags=[None, []], class_names=NAMES)
    assert got[0].isnan() and got[1] == pytest.approx(-(log(0.92 / 0.02) + log(0.12 / 0.02)) / 3)
    for bad in (["green"], [3], [-1]):
        with pytest.raises(ValueError, match=r"which is no class: the classes are \['other', 'red', 'blue'\]"):
            class_tags(maps[:1], class_tags=[bad], class_names=NAMES)


@pytest.mark.parametrize(
    "areas", [[0.6, 0.1, 0.3], torch.tensor([0.6, 0.1, 0.3]), {"other": 0.6, "red": 0.1, "blue": 0.3}]
)
def test_areas_by_hand(maps, areas):
    got = class_areas(maps, class_areas=[areas] * 4, class_names=NAMES)
    found = [(1, 0, 0), (0.9, 0.1, 0), (0.99, 0.01, 0), (0.6, 0.1, 0.3)]
    expected = [
        -sum(abs(log((a + 0.02) / (b + 0.02))) for a, b in zip(f, (0.6, 0.1, 0.3), strict=True)) / 3 for f in found
    ]
    torch.testing.assert_close(got, torch.tensor(expected))
    assert got[3] == 0


def test_areas_that_are_unknown_or_wrong(maps):
    got = class_areas(maps[:2], class_areas=[None, {"red": 1.0, "blue": None}], class_names=NAMES)
    assert got[0].isnan() and got[1] == pytest.approx(-(log(0.92 / 0.02) + log(1.02 / 0.12)) / 3)
    for bad, message in {
        (0.5, 0.5): "must be 3 fractions",
        (0.9, 0.9, 0.0): "sum to 1",
        (1.5, -0.5, 0.0): "must be 3 fractions",
    }.items():
        with pytest.raises(ValueError, match=message):
            class_areas(maps[:1], class_areas=[list(bad)], class_names=NAMES)
    with pytest.raises(ValueError, match="'green', which is no class"):
        class_areas(maps[:1], class_areas=[{"green": 1.0}], class_names=NAMES)
