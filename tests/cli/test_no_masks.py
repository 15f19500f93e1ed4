"""The commands on a folder of images without masks: from training by a judge of one's own to the Hub."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.hub_server import Hub
from helpers.photos import NAMES, write_photos
from helpers.rows import encoded, ids, p_mode, picture
from huggingface_hub import ModelCard
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from rss_hf.cli import check_data, evaluate, predict, train
from rss_hf.data import process_image
from rss_hf.evaluation import predict_maps


ROOT = Path(__file__).parents[2]
OPTIONS = ["--class_names", *NAMES, "--image_size", "32", "32", "--per_device_train_batch_size", 4, "--use_cpu"]
OPTIONS += ["--num_samples", 4, "--logging_steps", 1, "--max_steps", 2]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "judge", raising=False)


def lines(*arguments):
    return ["--dataset_name", "photos", *OPTIONS, *arguments, "--output_dir", "out"]


def numbers(folder="out"):
    return json.loads(Path(folder, "all_results.json").read_text())


def trained():
    return AutoModelForSemanticSegmentation.from_pretrained("out").eval(), AutoImageProcessor.from_pretrained("out")


def test_from_photos_and_a_judge_to_the_hub(tmp_path, capsys, caplog):
    areas = write_photos(tmp_path)
    with caplog.at_level(logging.INFO):
        run(train.main, *lines("--reward_funcs", "judge:area_error", "judge:above", "--reward_weights", 1, 0))
    assert caplog.text.count("no masks: training by reward alone") == 1
    model, processor = (
        AutoModelForSemanticSegmentation.from_pretrained("out"),
        AutoImageProcessor.from_pretrained("out"),
    )
    errors = []
    for i, area in enumerate(areas["validation"]):
        image = Image.open(f"photos/validation/{i}.png")
        [prediction] = predict_maps(model, process_image(processor, image)[None], [(32, 32)])
        errors.append(-abs((prediction == 1).float().mean().item() - area))
    expected = sum(errors) / 3
    assert numbers()["eval_reward"] == numbers()["eval_reward/area_error"] == pytest.approx(expected, abs=1e-6)
    assert numbers()["reward_calls"] == 2 * 4 * 4 and "eval_mean_iou" not in numbers()
    printed = capsys.readouterr().out
    assert f"area_error    {expected:.4f}" in " ".join(printed.split("\n"))
    with Image.open("out/comparison.png") as sheet, Image.open("out/training_curves.png") as curves:
        assert sheet.width == 9 * 120 and curves.height > 300
    card = ModelCard.load("out/README.md")
    assert f"| area\\_error | {expected:.4f} |" in card.text and "mIoU" not in card.text
    assert "What judged these maps also judged them in training" in card.text and card.data.metrics is None

    run(evaluate.main, "--model", "out", "--dataset_name", "photos", "--reward_funcs", "judge:area_error",
        "--output_file", "scores.json", "--num_workers", 0)  # fmt: skip
    assert json.loads(Path("scores.json").read_text())["scores"]["reward"] == pytest.approx(expected, abs=1e-6)
    run(predict.main, "--model", "out", "--input", "photos/validation", "--output_dir", "maps")
    with Image.open("maps/2.png") as mask:
        [prediction] = predict_maps(model, process_image(processor, image)[None], [(20, 24)])
        np.testing.assert_array_equal(np.asarray(mask), prediction)
    check_data.main(["--dataset_name", "photos", "--class_names", *NAMES])
    assert "train: 8 rows, images of 24x20 (8)" in (out := capsys.readouterr().out) and "There are no masks." in out

    with Hub() as hub:
        command = [sys.executable, "-m", "rss_hf.cli.push", "--folder", "out", "--repo_id", "org/photos"]
        environment = os.environ | hub.environment(tmp_path / "hub") | {"PYTHONPATH": str(ROOT)}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        there = hub.repos["models/org/photos"].files("main")
    assert there["README.md"] == Path("out/README.md").read_bytes()
    assert there["comparison.png"] == Path("out/comparison.png").read_bytes()
    assert not any("judge" in name or "photos" in name for name in there)


@pytest.mark.parametrize("estimator", ["leave_one_out", "score_posterior"])
def test_streams_and_other_estimators(tmp_path, estimator):
    write_photos(tmp_path)
    streaming = ["--streaming", "true"] if estimator == "leave_one_out" else ["--scale_rewards", "none"]
    run(train.main, *lines("--reward_funcs", "judge:above", "--advantage_estimator", estimator, *streaming))
    assert 0 <= numbers()["eval_reward/above"] <= 1


def test_cropped_examples_where_the_user_asks_for_them(tmp_path):
    """`above` asserts that it sees whole images, so it fails on crops."""
    write_photos(tmp_path)
    with pytest.raises(SystemExit, match="Reward 'above'.* raised AssertionError"):
        run(train.main, *lines("--reward_funcs", "judge:above", "--whole_images", "false"))


def test_a_reward_for_each_pixel(tmp_path):
    write_photos(tmp_path)
    run(train.main, *lines("--reward_funcs", "judge:darkness"))
    with Image.open("out/comparison.png") as sheet:
        assert sheet.width == 9 * 120
    assert 0 <= numbers()["eval_reward"] <= 1


OWN = "--reward_funcs judge:above"
REFUSED = {
    "": r"Built-in rewards \(batch_log_iou\) need masks, and the training data has none: images are in \['image'\], "
    r"other columns are \['areas', 'label'\]. Give rewards that need none as reward_funcs",
    "--objective cross_entropy": "Cross-entropy needs masks, and the training data has none: .*'areas'.*--objective",
    f"{OWN} --metric_for_best_model iou_red": "metric_for_best_model='iou_red' is none of the metrics: reward, ",
    f"{OWN} --mask_column label": "'label' of 'photos' holds .*not images.*'none'",
    f"{OWN} --whole_images true --scale_range 1 2": "has no effect on whole_images",
    f"{OWN} --early_stopping_patience 0": "must be at least 1, got 0",
    f"{OWN} --early_stopping_patience 2": "=2 counts evaluations: set eval_strategy",
    f"{OWN} --early_stopping_patience 2 --eval_strategy epoch": "what is to improve: set metric_for_best_model",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_what_cannot_be_done_without_masks_is_said_before_the_first_step(tmp_path, arguments):
    write_photos(tmp_path)
    with pytest.raises(SystemExit, match=REFUSED[arguments]):
        run(train.main, *lines(*arguments.split()))
    assert not list(Path("out").glob("checkpoint*"))


def test_class_names_are_demanded(tmp_path):
    write_photos(tmp_path)
    with pytest.raises(SystemExit, match="The class names of 'photos' are not known. Pass class_names"):
        run(train.main, "--dataset_name", "photos", "--reward_funcs", "judge:above", "--output_dir", "out")


def test_evaluation_by_masks_or_by_a_judge(tmp_path):
    write_photos(tmp_path)
    run(train.main, *lines("--reward_funcs", "judge:area_error"))
    model = ["--model", "out", "--num_workers", 0]
    for arguments, told in (
        ([], "Mean IoU needs masks, and the evaluation data has none: .*'areas'.*--reward_funcs"),
        (
            ["--reward_funcs", "mean_iou"],
            r"Built-in rewards \(mean_iou\) need masks, and the evaluation",
        ),
        (["--reward_funcs", "judge:above", "--flip"], "leave out window and flip"),
        (["--reward_weights", 1], "no effect without reward_funcs"),
    ):
        with pytest.raises(SystemExit, match=told):
            run(evaluate.main, *model, "--dataset_name", "photos", *arguments)
    for folder in ("images", "masks"):
        (tmp_path / folder / "val").mkdir(parents=True)
    for name in "ab":
        (tmp_path / "images" / "val" / f"{name}.png").write_bytes(encoded(picture())["bytes"])
    (tmp_path / "masks" / "val" / "a.png").write_bytes(encoded(p_mode(ids((0, 1))))["bytes"])
    data = ["--dataset_name", "images,masks"]
    run(evaluate.main, *model, *data, "--reward_funcs", "judge:darkness", "--mask_column", "none",
        "--output_file", "judged.json")  # fmt: skip
    alone = json.loads(Path("judged.json").read_text())["scores"]
    run(
        evaluate.main,
        *model,
        *data,
        "--output_file",
        "scores.json",
        "--reward_funcs",
        "judge:darkness",
        "pixel_accuracy",
    )
    scores = json.loads(Path("scores.json").read_text())["scores"]
    model, processor = trained()
    [prediction] = predict_maps(model, process_image(processor, picture())[None], [(6, 8)])
    accuracy = (prediction == torch.from_numpy(ids((0, 1))).long()).float().mean()
    assert scores["overall_accuracy"] == pytest.approx(accuracy.item())  # of the row that has a mask
    assert scores["reward/darkness"] == alone["reward"] and 0 <= scores["reward/pixel_accuracy"] <= 1


def test_training_stops_early(tmp_path):
    """A judge that never says better: after the first evaluation, two more."""
    write_photos(tmp_path)
    with open("judge.py", "a") as judge:
        judge.write("\ndef equal(predictions, **columns):\n    return [0.5] * len(predictions)\n")
    stopping = ["--eval_strategy", "steps", "--eval_steps", 1, "--early_stopping_patience", 2, "--max_steps", 20]
    stopping += ["--metric_for_best_model", "reward", "--save_strategy", "no"]
    run(train.main, *lines("--reward_funcs", "judge:equal", *stopping))
    assert numbers()["reward_calls"] == 3 * 4 * 4
