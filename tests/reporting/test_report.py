import math

import numpy as np
import pytest
import torch
from PIL import Image

from rss_hf import RSSConfig, RSSTrainer
from rss_hf.data import DataSource, SegmentationData, load_shapes, voc_palette
from rss_hf.reporting import report
from rss_hf.reporting.report import score_table, write_report


def redness(predictions, references=None, **columns):
    return (predictions == 1).float().mean((1, 2))


def colours_of(path):
    with Image.open(path) as picture:
        return picture.width, {colour for _, colour in picture.convert("RGB").getcolors(maxcolors=2**20)}


@pytest.mark.parametrize("columns", [["image", "mask"], ["image"]])
def test_a_run_leaves_a_sheet_curves_and_a_table(new_policy, tmp_path, columns):
    splits = {name: rows.select_columns(columns) for name, rows in load_shapes(32, 3, 4, 3).items()}
    source = DataSource("shapes", False, None, None, "train", "validation")
    names = ["LABEL_0", "LABEL_1", "LABEL_2"]
    data = SegmentationData(**splits, class_names=names, palette=voc_palette(3), source=source)
    args = RSSConfig(str(tmp_path), max_steps=1, num_samples=2, logging_steps=1, save_strategy="no", use_cpu=True)
    trainer = RSSTrainer(
        new_policy(), args, reward_funcs=redness, train_dataset=data.train, eval_dataset=data.validation
    )
    trainer.train()
    metrics = trainer.evaluate()
    *table, _, sheet, curves, results = write_report(trainer, data, metrics, num_images=2).splitlines()
    assert [sheet, curves, results] == [
        str(tmp_path / name) for name in ("comparison.png", "training_curves.png", "all_results.json")
    ]
    width, colours = colours_of(sheet)
    if "mask" in columns:
        labels = {label for row in data.validation.select([0, 1]) for label in np.unique(row["mask"])}
        assert width == 9 * 120 and {voc_palette()[label] for label in labels} <= colours
        overall = table.index("")
        assert table[overall - 1].split() == ["overall", f"{100 * metrics['eval_overall_accuracy']:.2f}"]
        rewards = table[overall + 2 :]
    else:
        assert width == 9 * 120
        rewards = table[1:]
    measured = [f"{metrics['eval_reward']:.4f}", f"{metrics['eval_sampled_reward']:.4f}"]
    assert [line.split()[-2:] for line in rewards] == [measured] * 2
    assert colours_of(curves)[0] == 7 * 120


def brightness(predictions, pixel_values=None, **columns):
    return predictions.float() * pixel_values.mean(1)


def test_the_sheet_says_what_each_map_earns(new_policy, tmp_path, monkeypatch):
    """Without masks: by hand, from the map, its pixel values and its row's own column; and a map of pixel rewards."""
    rows = load_shapes(32, 3, 4, 3)["validation"].remove_columns("mask").add_column("share", [0.1, 0.2, 0.3])
    args = RSSConfig(str(tmp_path), max_steps=1, num_samples=2, logging_steps=1, save_strategy="no", use_cpu=True)

    def apart(predictions, share=None, **columns):
        return [float((p == 1).float().mean()) - s for p, s in zip(predictions, share, strict=True)]

    trainer = RSSTrainer(new_policy(), args, reward_funcs=[apart, brightness], train_dataset=rows, eval_dataset=rows)
    trainer.state.log_history = [{"step": 1, "reward": 1.0}]
    source = DataSource("shapes", False, None, None, "train", "validation")
    data = SegmentationData(rows, rows, ["a", "b", "c"], voc_palette(3), source)
    sheets = []
    monkeypatch.setattr(report, "comparison_sheet", lambda *arguments: sheets.append(arguments))
    write_report(trainer, data, {"eval_reward": 0.0}, num_images=2)
    [(_, _, _, _, scores)] = sheets
    for index, (text, values) in enumerate(scores):
        example = trainer.eval_dataset[index]
        logits = trainer.model(pixel_values=example["pixel_values"][None]).logits
        prediction = torch.nn.functional.interpolate(logits, size=(512, 512), mode="bilinear").argmax(1)[0]
        first = (prediction == 1).float().mean().item() - rows[index]["share"]
        pixels = prediction * example["pixel_values"].mean(0)
        assert text.splitlines()[0] == f"apart {first:.4f}"
        assert [float(line.split()[-1]) for line in text.splitlines()[1:]] == pytest.approx(
            [pixels.mean().item(), first + pixels.mean().item()], abs=1e-4
        )
        np.testing.assert_allclose(values, pixels + first, atol=1e-4)


def test_scores_are_a_table_in_percent():
    scores = {"iou_cat": 0.5, "accuracy_cat": 0.75, "iou_polar bear": math.nan, "accuracy_polar bear": 0.12345}
    scores |= {"mean_iou": 0.5, "mean_accuracy": 0.4367, "overall_accuracy": 1.0}
    assert score_table(scores, ["cat", "polar bear"]).splitlines() == [
        "class         IoU accuracy",
        "cat         50.00    75.00",
        "polar bear      -    12.35",
        "mean        50.00    43.67",
        "overall             100.00",
    ]


def test_rewards_are_a_table_in_their_own_units():
    scores = {"reward/dice": 0.25, "reward/stars": 12.0, "reward": 3.0625, "runtime": 2.0}
    assert score_table(scores, ["cat"]).splitlines() == [
        "               reward",
        "dice           0.2500",
        "stars         12.0000",
        "weighted sum   3.0625",
    ]
    scores |= {"sampled_reward/dice": 0.5, "sampled_reward/stars": 8.0, "sampled_reward": 2.5}
    assert [line.split() for line in score_table(scores, ["cat"]).splitlines()[1:]] == [
        ["dice", "0.2500", "0.5000"],
        ["stars", "12.0000", "8.0000"],
        ["weighted", "sum", "3.0625", "2.5000"],
    ]
