"""The example without masks: what is drawn and known, and that every judge trains."""

import importlib
import sys

import numpy as np
import pytest
from helpers.commands import run


@pytest.fixture(scope="module")
def example():
    return importlib.import_module("examples.no_masks")


def test_what_is_known_is_that_of_the_masks(example):
    for row in example.draw(20, seed=3):
        shares = [(np.asarray(row["mask"]) == c).mean() for c in range(3)]
        assert row["class_areas"] == pytest.approx(shares)
        assert row["class_tags"] == [name for name, share in zip(example.CLASSES, shares, strict=True) if share]


@pytest.mark.parametrize(
    "judge, rewards",
    [("areas", {"class_areas"}), ("tags", {"class_tags"}), ("model", {"model_reward", "class_tags"})],
)
def test_each_judge_trains(example, judge, rewards, tmp_path, monkeypatch, capsys):
    draw = example.draw
    monkeypatch.setattr(example, "draw", lambda count, seed: draw(32, seed))
    words = ["no_masks.py", "--judge", judge, "--max_steps", "1", "--output_dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    run(lambda _: example.main())
    scores = dict(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("eval_"))
    names = {f"eval_{kind}/{name}" for kind in ("reward", "sampled_reward") for name in rewards}
    assert scores.keys() == names | {"eval_reward", "eval_sampled_reward", "eval_mean_iou"}
    assert all(-4 <= float(score) <= 1 for score in scores.values())
