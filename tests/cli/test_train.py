"""`rss-hf train` as a user runs it, on a data set of a few drawn images."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from accelerate import PartialState
from helpers.commands import run, write_example
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from rss_hf import RSSSegformerForSemanticSegmentation
from rss_hf.cli import train


ROOT = Path(__file__).parents[2]
WRITTEN = ["config.json", "model.safetensors", "preprocessor_config.json", "comparison.png", "training_curves.png"]
# Writes down the process that calls it, and how many of them there are.
JUDGE = """
import os
from pathlib import Path

import torch
from accelerate import PartialState

def of_mine(predictions, references=None, **columns):
    state = PartialState()
    Path(f"{state.process_index} of {state.num_processes}, {torch.get_num_threads()} threads").touch()
    return (predictions == 1).float().mean((1, 2))
"""


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    return write_example(tmp_path_factory.mktemp("example"))


@pytest.fixture
def config(example, tmp_path):
    """The YAML file of a run that writes to `tmp_path / "out"`."""
    path = tmp_path / "run.yaml"
    path.write_text(example.read_text().replace(f"{example.parent}/out", f"{tmp_path}/out"))
    return path


def results(folder):
    return json.loads((folder / "all_results.json").read_text())


def history(folder):
    return json.loads((folder / "trainer_state.json").read_text())["log_history"]


def launch(folder, *arguments, threads=None, options=()):
    """`accelerate launch` in a folder that holds `judge.py`, with OMP_NUM_THREADS or without."""
    (folder / "judge.py").write_text(JUDGE)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0", *options]
    command += ["-m", "rss_hf.cli.train", *map(str, arguments), "--reward_funcs", "mean_iou", "judge:of_mine"]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"PYTHONPATH": str(ROOT)} | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)


def test_one_process_from_the_start_to_the_report(config, tmp_path, capsys):
    run(train.main, "--config", config)
    out = tmp_path / "out"
    for name in WRITTEN:
        assert (out / name).is_file(), name
    assert 0 <= results(out)["eval_mean_iou"] <= 1
    assert results(out)["reward_calls"] == 4 * 4 * 4  # steps, images, samples
    model = AutoModelForSemanticSegmentation.from_pretrained(out)
    assert isinstance(model, RSSSegformerForSemanticSegmentation)
    assert model.config.id2label == {0: "background", 1: "circle", 2: "square"}
    assert AutoImageProcessor.from_pretrained(out).size["height"] == 32
    assert Image.open(out / "comparison.png").size[0] > 500
    printed = capsys.readouterr().out
    assert "circle" in printed and "overall" in printed and str(out / "comparison.png") in printed
    assert [entry["stride"] for entry in history(out) if "stride" in entry] == [8, 8, 4, 4]


def test_two_processes(config, tmp_path):
    """By the command in configs/accelerate/ddp.yaml. The user's number of threads is kept."""
    accelerate = ["--config_file", ROOT / "configs" / "accelerate" / "ddp.yaml"]
    result = launch(tmp_path, "--config", config, "--per_device_train_batch_size", 2, threads=1, options=accelerate)
    assert result.returncode == 0, result.stderr[-3000:]
    assert {path.name for path in tmp_path.glob("*threads")} == {"0 of 2, 1 threads", "1 of 2, 1 threads"}
    for name in WRITTEN:
        assert (tmp_path / "out" / name).is_file(), name
    assert 0 <= results(tmp_path / "out")["eval_mean_iou"] <= 1
    assert results(tmp_path / "out")["reward_calls"] == 4 * 4 * 4
    assert result.stdout.count("comparison.png") == 1


def test_one_launched_process_uses_all_cores(config, tmp_path):
    """Which `accelerate launch` itself would not let it: it sets OMP_NUM_THREADS to 1 where it is not set."""
    options = ["--num_processes", "1"]
    result = launch(tmp_path, "--config", config, "--max_steps", 1, "--eval_strategy", "no", options=options)
    assert result.returncode == 0, result.stderr[-3000:]
    cores = len(os.sched_getaffinity(0))
    assert [path.name for path in tmp_path.glob("*threads")] == [f"0 of 1, {cores} threads"]


def test_the_number_of_threads_is_the_users_where_the_user_says_it(monkeypatch):
    launcher = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={"PATH": os.defpath})
    try:
        for name in ("LOCAL_RANK", "ACCELERATE_DYNAMO_MODE"):
            monkeypatch.delenv(name, raising=False)
        for threads, chosen in ((None, False), ("1", True), ("4", True)):
            monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
            if threads is not None:
                monkeypatch.setenv("OMP_NUM_THREADS", threads)
            assert train.user_set_threads() is chosen
        monkeypatch.setenv("ACCELERATE_DYNAMO_MODE", "default")
        monkeypatch.setattr(os, "getppid", lambda: launcher.pid)
        assert "OMP_NUM_THREADS" not in psutil.Process(launcher.pid).environ()
        assert train.user_set_threads()  # 4: by --num_cpu_threads_per_process, if not by the variable
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        assert not train.user_set_threads()  # by the launcher
    finally:
        launcher.communicate(b"\n")
    assert not train.user_set_threads()  # a launcher that cannot be asked


def test_stopped_and_resumed_is_the_same_run(config, tmp_path):
    """Augmentation, drop path and sampling included."""
    run(train.main, "--config", config, "--output_dir", tmp_path / "whole")
    run(train.main, "--config", config, "--output_dir", tmp_path / "stopped")
    os.rename(tmp_path / "stopped", tmp_path / "full")
    os.mkdir(tmp_path / "stopped")
    os.rename(tmp_path / "full" / "checkpoint-2", tmp_path / "stopped" / "checkpoint-2")
    run(train.main, "--config", config, "--output_dir", tmp_path / "stopped", "--resume_from_checkpoint", "last")
    whole, stopped = (
        AutoModelForSemanticSegmentation.from_pretrained(tmp_path / name).state_dict() for name in ("whole", "stopped")
    )
    for name, tensor in whole.items():
        assert torch.equal(tensor, stopped[name]), name


def test_earlier_checkpoints_are_not_trained_over(config):
    run(train.main, "--config", config)
    with pytest.raises(SystemExit, match="checkpoint-4.*--resume_from_checkpoint last"):
        run(train.main, "--config", config)


def test_it_only_evaluates_where_it_is_told_not_to_train(config, tmp_path, capsys):
    run(train.main, "--config", config, "--do_train", "false")
    assert 0 <= results(tmp_path / "out")["eval_mean_iou"] <= 1
    assert "train_runtime" not in results(tmp_path / "out")
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert "comparison.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--objective", "cross_entropy"],
        ["--reward_funcs", "pixel_match", "mean_iou", "--reward_weights", "1", "0.5"],
        ["--streaming", "true", "--max_steps", "2"],
    ],
    ids=["cross_entropy", "pixel_level", "streaming"],
)
def test_other_objectives_and_ways_to_read(config, tmp_path, arguments):
    run(train.main, "--config", config, *arguments)
    assert 0 <= results(tmp_path / "out")["eval_mean_iou"] <= 1
    assert ("reward_calls" in results(tmp_path / "out")) is ("cross_entropy" not in arguments)


def test_a_reward_of_the_user(config, tmp_path, monkeypatch):
    code = "def of_mine(predictions, references=None, **columns): return (predictions == 1).float().mean((1, 2))"
    (tmp_path / "my_judge.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    rewards = ["--reward_funcs", "mean_iou", "my_judge:of_mine", "--reward_weights", "1", "0.1"]
    run(train.main, "--config", config, *rewards)
    assert all(0 < entry["reward/of_mine/mean"] < 1 for entry in history(tmp_path / "out") if "loss" in entry)


def test_masks_of_colours_of_ones_own(config, example, tmp_path):
    """The same run as on masks of ids."""
    palette = np.array([[0, 0, 0], [255, 0, 0], [18, 52, 86]], np.uint8)
    for file in (example.parent / "masks").rglob("*.png"):
        mask = np.array(Image.open(file)) % 255  # without void
        for kind, pixels in {"ids": mask, "colours": palette[mask]}.items():
            path = tmp_path / kind / file.relative_to(example.parent / "masks")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    for kind, options in {"ids": [], "colours": ["--palette", "black", "red", "#123456"]}.items():
        options += [
            "--dataset_name",
            f"{example.parent}/images,{tmp_path}/{kind}",
            "--output_dir",
            tmp_path / f"out-{kind}",
        ]
        run(train.main, "--config", config, "--max_steps", 1, "--eval_strategy", "no", *options)
    for name in ("eval_mean_iou", "train_loss"):
        assert results(tmp_path / "out-colours")[name] == results(tmp_path / "out-ids")[name]
    with pytest.raises(SystemExit, match="palette has 2 colours for 3 classes"):
        run(train.main, "--config", config, "--palette", "black", "red")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--learning_rat", "1"], "unknown argument 'learning_rat'. Did you mean 'learning_rate'"),
        (["--reward_funcs", "mean_iuo"], "'mean_iuo'"),
        (["--class_names", "background", "circle"], r"without a class, \[2\]"),
        (["--dataset_name", "no/such,folders"], "No folder no/such"),
        (["--num_samples", "1"], "at least 2"),
        (["--reward_weights", "1", "2", "3"], "as many weights|one weight"),
        (["--image_size", "1", "2", "3"], r"image_size=\[1, 2, 3\] must be"),
        (["--recipe", "few_calls", "--streaming"], "advantage_estimator='score_posterior' finds .* --streaming"),
    ],
)
def test_bad_input_is_refused_before_training(config, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=message):
        run(train.main, "--config", config, *arguments)
    assert not (tmp_path / "out" / "checkpoint-2").exists()
    assert PartialState._shared_state == {}


def test_code_of_the_hub_runs_only_where_it_is_trusted(config, tmp_path):
    """And nobody is asked on standard input."""
    folder = tmp_path / "remote"
    folder.mkdir()
    auto_map = {"AutoConfig": "code.Config", "AutoModelForSemanticSegmentation": "code.Model"}
    (folder / "config.json").write_text(json.dumps({"model_type": "of_mine", "auto_map": auto_map}))
    (folder / "code.py").write_text("raise RuntimeError('the code ran')\n")
    arguments = ["--config", config, "--model_name_or_path", folder]
    with pytest.raises(SystemExit, match="trust_remote_code"):
        run(train.main, *arguments)
    with pytest.raises(RuntimeError, match="the code ran"):
        run(train.main, *arguments, "--trust_remote_code")


def test_the_scripts_are_the_commands():
    for script, command in {
        "train": "train",
        "evaluate_model": "evaluate",
        "predict": "predict",
        "push_to_hub": "push",
    }.items():
        code = (ROOT / "scripts" / f"{script}.py").read_text()
        assert re.search(rf"^from rss_hf.cli.{command} import main$", code, re.MULTILINE)
        assert len(code.splitlines()) < 10
