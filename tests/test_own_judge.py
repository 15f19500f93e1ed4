"""The lines of docs/own_judge.md, run in their order as a reader would, but for a few steps only."""

import importlib
import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import datasets
import pytest
from helpers.commands import run
from PIL import Image


PAGE = (Path(__file__).parents[1] / "docs" / "own_judge.md").read_text()
FEWER = {
    "--num_samples 16 --max_steps 200": "--num_samples 2 --max_steps 2 --use_cpu",
    "--eval_steps 50": "--eval_steps 1",
    "max_steps=200, num_samples=16": "max_steps=2, num_samples=2, use_cpu=True",
    '(("train", 200), ("validation", 20))': '(("train", 16), ("validation", 8))',
}


def blocks(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    for old, new in FEWER.items():
        assert PAGE.count(old) == 1, old
        found = [block.replace(old, new) for block in found]
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with `make_photos.py`, `judge.py` and, as `in_python.py`, the last example."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "judge", raising=False)
    for block in blocks("python"):
        name = re.match(r"# (\w+\.py)\n", block)
        Path(name[1] if name else "in_python.py").write_text(block)
    return tmp_path


def test_every_line_runs(folder, capsys, caplog):
    printed = {}
    lines = [line for block in blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    for line in [*lines, "python in_python.py"]:
        program, name, *words = shlex.split(line, comments=True)
        if program == "python":
            runpy.run_path(name)
        elif name != "push":  # which needs an account
            run(importlib.import_module(f"rss_hf.cli.{name.replace('-', '_')}").main, *words)
        printed[name] = capsys.readouterr().out
    assert "no masks: training by reward alone" in caplog.text
    named = re.findall(r"^\| `([\w.]+)` \|", PAGE, flags=re.MULTILINE)
    assert len(named) == 4 and all((folder / "outputs" / "photos" / name).is_file() for name in named)
    assert "train: 16 rows, images of 64x64 (16)" in printed["check-data"]
    results = json.loads((folder / "outputs" / "photos" / "all_results.json").read_text())
    for name in ("train", "evaluate"):
        (line,) = re.findall("^area_error .*", printed[name], flags=re.MULTILINE)
        assert line.split()[1] == f"{results['eval_reward']:.4f}"
    with Image.open(folder / "outputs" / "photos" / "comparison.png") as sheet:
        assert sheet.width == 9 * 120  # image, prediction, score
    assert len(list((folder / "predictions").glob("*_overlay.png"))) == 8
    assert -1 <= float(printed["in_python.py"].split()[-1]) < 0
