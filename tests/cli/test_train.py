"""scripts/train.py as a user runs it, on a data set of a few drawn images."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    SegformerForImageClassification,
    SegformerImageProcessor,
)

from rss_hf import RSSSegformerForSemanticSegmentation
from rss_hf.data.shapes import load_shapes


ROOT = Path(__file__).parents[2]
WRITTEN = ["config.json", "model.safetensors", "preprocessor_config.json", "comparison.png", "training_curves.png"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two folders of pictures and masks of one stem each, in splits."""
    folder = tmp_path_factory.mktemp("data")
    for split, rows in load_shapes(size=32, num_classes=3, num_train=12, num_validation=5).items():
        for i, row in enumerate(rows):
            for column in ("image", "mask"):
                path = folder / f"{column}s" / split / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                row[column].save(path)
    return folder


@pytest.fixture
def recipe(tmp_path, data, plain_config):
    SegformerForImageClassification(plain_config).save_pretrained(tmp_path / "encoder")
    SegformerImageProcessor().save_pretrained(tmp_path / "encoder")
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"""
dataset_name: {data}/images,{data}/masks
class_names: [background, circle, square]
model_name_or_path: {tmp_path}/encoder
image_size: [32, 32]
do_train: true
output_dir: {tmp_path}/out
max_steps: 4
save_steps: 2
logging_steps: 1
eval_strategy: steps
eval_steps: 2
per_device_train_batch_size: 4
num_samples: 4
scales: [8, 4]
scale_warmup: 0.5
use_cpu: true
"""
    )
    return path


def run(*arguments):
    """The script in this process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    argv, sys.argv = sys.argv, ["train.py", *map(str, arguments)]
    try:
        runpy.run_path(str(ROOT / "scripts" / "train.py"), run_name="__main__")
    finally:
        sys.argv = argv
        AcceleratorState._reset_state(reset_partial_state=True)


def launch(*arguments, num_processes):
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", str(num_processes)]
    command += ["--main_process_port", "0", "scripts/train.py", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)


def test_one_process_from_the_start_to_the_report(recipe, tmp_path, capsys):
    run("--config", recipe)
    out = tmp_path / "out"
    for name in WRITTEN:
        assert (out / name).is_file(), name
    results = json.loads((out / "all_results.json").read_text())
    assert 0 <= results["eval_mean_iou"] <= 1
    assert results["reward_queries"] == 4 * 4 * 4  # steps, images, samples
    model = AutoModelForSemanticSegmentation.from_pretrained(out)
    assert isinstance(model, RSSSegformerForSemanticSegmentation)
    assert model.config.id2label == {0: "background", 1: "circle", 2: "square"}
    assert AutoImageProcessor.from_pretrained(out).size["height"] == 32
    assert Image.open(out / "comparison.png").size[0] > 500
    printed = capsys.readouterr().out
    assert "circle" in printed and "overall" in printed and str(out / "comparison.png") in printed
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    assert [entry["stride"] for entry in history if "stride" in entry] == [8, 8, 4, 4]


def test_two_processes(recipe, tmp_path):
    result = launch("--config", recipe, "--per_device_train_batch_size", 2, num_processes=2)
    assert result.returncode == 0, result.stderr[-3000:]
    for name in WRITTEN:
        assert (tmp_path / "out" / name).is_file(), name
    assert 0 <= json.loads((tmp_path / "out" / "all_results.json").read_text())["eval_mean_iou"] <= 1
    assert result.stdout.count("comparison.png") == 1


def test_stopped_and_resumed_is_the_same_run(recipe, tmp_path):
    """Augmentation, drop path and sampling included."""
    run("--config", recipe, "--output_dir", tmp_path / "whole")
    run("--config", recipe, "--output_dir", tmp_path / "stopped")
    os.rename(tmp_path / "stopped", tmp_path / "full")
    os.mkdir(tmp_path / "stopped")
    os.rename(tmp_path / "full" / "checkpoint-2", tmp_path / "stopped" / "checkpoint-2")
    run("--config", recipe, "--output_dir", tmp_path / "stopped", "--resume_from_checkpoint", "last")
    whole, stopped = (
        AutoModelForSemanticSegmentation.from_pretrained(tmp_path / name).state_dict() for name in ("whole", "stopped")
    )
    for name, tensor in whole.items():
        assert torch.equal(tensor, stopped[name]), name


def test_earlier_checkpoints_are_not_trained_over(recipe, tmp_path):
    run("--config", recipe)
    with pytest.raises(ValueError, match="checkpoint-4.*--resume_from_checkpoint last"):
        run("--config", recipe)


def test_cross_entropy_and_pixel_level_and_streaming(recipe, tmp_path):
    for name, arguments in {
        "supervised": ["--objective", "cross_entropy"],
        "pixel": ["--reward_funcs", "pixel_match", "mean_iou", "--reward_weights", "1", "0.5"],
        "streaming": ["--streaming", "true", "--max_steps", "2"],
    }.items():
        run("--config", recipe, "--output_dir", tmp_path / name, *arguments)
        assert 0 <= json.loads((tmp_path / name / "all_results.json").read_text())["eval_mean_iou"] <= 1


def test_a_reward_of_the_user(recipe, tmp_path, monkeypatch):
    code = "def of_mine(predictions, references=None, **columns): return (predictions == 1).float().mean((1, 2))"
    (tmp_path / "my_judge.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    run("--config", recipe, "--reward_funcs", "mean_iou", "my_judge:of_mine", "--reward_weights", "1", "0.1")
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    assert all(0 < entry["reward/of_mine/mean"] < 1 for entry in history if "loss" in entry)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--learning_rat", "1"], "unknown argument 'learning_rat'. Did you mean 'learning_rate'"),
        (["--reward_funcs", "mean_iuo"], "No reward named 'mean_iuo'"),
        (["--class_names", "background", "circle"], r"without a class, \[2\]"),
        (["--dataset_name", "no/such,folders"], "No folder no/such"),
        (["--num_samples", "1"], "at least 2"),
        (["--reward_weights", "1", "2", "3"], "as many weights"),
    ],
)
def test_bad_input_is_refused_before_training(recipe, tmp_path, arguments, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run("--config", recipe, *arguments)
    assert not (tmp_path / "out" / "checkpoint-2").exists()
    assert PartialState._shared_state == {}
