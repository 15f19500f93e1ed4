"""The README's example runs as it is printed, but for a few steps only; so do the examples."""

import re
import runpy
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

import rss_hf.data
from rss_hf.data import load_segmentation_dataset


ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def example() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    return block


def few_steps(code: str) -> str:
    """The same code with fewer steps, maps and rows."""
    for old, new in {
        "max_steps=500, num_samples=16": "max_steps=2, num_samples=2, per_device_train_batch_size=2, use_cpu=True",
        'load_segmentation_dataset("shapes")': 'load_segmentation_dataset("shapes", max_train_samples=4)',
    }.items():
        assert code.count(old) == 1, old
        code = code.replace(old, new)
    return code


def test_example_is_short(example):
    assert len([line for line in example.splitlines() if line.strip()]) <= 15


def test_example_trains(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(few_steps(example), names)
    trainer = names["trainer"]
    assert trainer.state.global_step == 2
    assert trainer.state.log_history[-1]["reward_calls"] == 2 * 2 * 2  # steps, images, maps of each


def test_judge_of_the_example(example):
    """By hand: F2 = 5 TP / (5 TP + 4 FN + FP), mean over the classes that the mask has."""
    names = {}
    exec(example[: example.index("data = ")], names)
    references = torch.tensor([[[0, 0], [1, 255]], [[255, 255], [255, 255]]])
    predictions = torch.tensor([[[0, 1], [1, 1]], [[0, 1], [2, 3]]])
    # class 0: TP 1, FN 1, FP 0; class 1: TP 1, FN 0, FP 1, for the unlabelled pixel does not count
    expected = torch.tensor([(5 / 9 + 5 / 6) / 2, torch.nan])
    torch.testing.assert_close(
        names["f2"](predictions, references, ["sky", "road", "car", "tree"]), expected, equal_nan=True
    )


def test_own_judge_runs(tmp_path, monkeypatch, capsys):
    few = {"max_train_samples": 4, "max_eval_samples": 4}
    monkeypatch.setattr(rss_hf.data, "load_segmentation_dataset", partial(load_segmentation_dataset, **few))
    monkeypatch.setattr(sys, "argv", ["own_judge.py", "--max_steps", "2", "--output_dir", str(tmp_path / "out")])
    runpy.run_path(str(ROOT / "examples" / "own_judge.py"), run_name="__main__")
    printed = capsys.readouterr().out
    scores = re.search(r"mean F2 of the validation images: (\d\.\d+) before, (\d\.\d+) after", printed)
    assert scores and all(0 < float(score) < 1 for score in scores.groups())
