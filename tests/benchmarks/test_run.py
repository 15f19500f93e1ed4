"""Which runs are still to be made, and what is written down of one."""

import json

import numpy as np
import plan
import pytest
import record

from rss_hf.data import load_segmentation_dataset


pytest.importorskip("pandas", reason="the extra 'benchmark' is not installed")

import run as benchmark  # noqa: E402


SUITE = {
    "rows": [
        {"data": "shapes", "method": "cross-entropy", "learning_rate": 5e-4},
        {"data": "shapes", "method": "default"},
        {"data": "camvid", "method": "default"},
        {"data": "shapes", "method": "a method that is gone"},
    ]
}


@pytest.fixture
def records(tmp_path, monkeypatch):
    """An empty folder of records, and a suite of one table."""
    monkeypatch.setattr(record, "RECORDS", tmp_path)
    monkeypatch.setitem(plan.SUITES, "test", SUITE)
    return tmp_path


def missing(**options):
    return benchmark.missing_runs(benchmark.BenchmarkArguments(suite="test", **options))


def test_rows_that_can_be_measured_are(records):
    runs = missing(seeds=[0, 1])
    assert [(run.data, run.method, run.configuration["seed"]) for run in runs] == [
        ("shapes", "cross-entropy", 0),
        ("shapes", "default", 0),
        ("camvid", "default", 0),
        ("shapes", "cross-entropy", 1),
        ("shapes", "default", 1),
        ("camvid", "default", 1),
    ]
    assert [run.configuration["learning_rate"] for run in runs[:2]] == [5e-4, 1e-3]
    assert [run.data for run in missing(data=["camvid"])] == ["camvid"]
    assert [run.method for run in missing(methods=["cross-entropy"])] == ["cross-entropy"]
    with pytest.raises(ValueError, match="has no rows"):
        missing(methods=["REINFORCE"])


def test_a_run_is_known_by_its_configuration(records, monkeypatch):
    first, second = missing(data=["shapes"])
    line = benchmark.make_record(first, STATE, RESULTS)
    record.append_record(record.records_of("shapes"), json.loads(json.dumps(line)))
    assert missing(data=["shapes"]) == [second]
    monkeypatch.setitem(plan.METHODS, "another name", plan.METHODS["cross-entropy"])
    monkeypatch.setitem(plan.METHODS, "cross-entropy", {"objective": "cross_entropy", "weight_decay": 0.5})
    changed, *_ = missing(data=["shapes"])
    assert (changed.method, changed.configuration["weight_decay"]) == ("cross-entropy", 0.5)
    assert changed.output_dir != first.output_dir  # so that it does not resume from the old one's checkpoints
    monkeypatch.setitem(SUITE["rows"][0], "method", "another name")
    assert missing(data=["shapes"]) == [second]


def test_a_record_without_configuration_keeps_no_run_from_being_made(records, new_record):
    record.append_record(record.records_of("shapes"), new_record("cross-entropy", 0, 0.5, learning_rate=5e-4))
    assert [run.method for run in missing(data=["shapes"])] == ["cross-entropy", "default"]


STATE = {
    "global_step": 2,
    "log_history": [
        {"step": 1, "eval_mean_iou": 0.25, "eval_reward": 0.1, "eval_sampled_reward": 0.2},
        {"step": 1, "loss": 3.0},
        {"step": 2, "eval_mean_iou": 0.5, "eval_reward": 0.4, "eval_sampled_reward": 0.3},
    ],
}
RESULTS = {"reward_calls": 8192.0, "train_runtime": 7.5, "eval_mean_iou": 0.5, "eval_mean_accuracy": 0.6}
RESULTS |= {"eval_overall_accuracy": 0.7, "eval_loss": 1.0}


def test_a_record_holds_the_whole_configuration(records):
    labels, reward, elsewhere = missing()
    line = benchmark.make_record(reward, STATE, RESULTS)
    assert line["configuration"] == reward.configuration and line["configuration"]["num_samples"] == 128
    assert line["configuration"]["per_device_train_batch_size"] == 32
    assert [line["reward_funcs"], line["num_samples"], line["strides"]] == [["batch_log_iou"], 128, [2]]
    assert line["scores"] == {"mean_iou": 0.5, "mean_accuracy": 0.6, "overall_accuracy": 0.7}
    assert [line["steps"], line["reward_calls"], line["seconds"]] == [2, 8192.0, 7.5]
    assert line["curve"] == [[1, 0.25], [2, 0.5]] and line["reward_curve"] == [[1, 0.1, 0.2], [2, 0.4, 0.3]]
    assert line["command"] == "python benchmarks/run.py --suite test --data shapes --methods default --seeds 0"
    line = benchmark.make_record(labels, STATE, {**RESULTS, "reward_calls": 0})
    assert line["reward_funcs"] is line["num_samples"] is line["strides"] is line["reward_curve"] is None
    assert elsewhere.command.endswith("--data camvid --methods default --seeds 0 --camvid FOLDER_OR_ID")


def test_places_are_this_machines(records, monkeypatch):
    options = plan.configuration({"data": "voc-frozen", "method": "default"})
    asked = []
    monkeypatch.setattr(benchmark, "make_upernet", lambda *arguments: asked.append(arguments) or "outputs/upernet")
    args = benchmark.BenchmarkArguments(suite="test", voc="here", encoder_weights="weights")
    places = benchmark.find_places(options, args)
    assert places == {"dataset_name": "here", "model_name_or_path": "outputs/upernet"}
    assert asked == [("weights", 21)]
    with pytest.raises(ValueError, match="--voc FOLDER_OR_ID"):
        benchmark.find_places(options, benchmark.BenchmarkArguments(suite="test"))
    assert benchmark.find_places(plan.configuration({"data": "shapes", "method": "default"}), args) == {}


def test_data_without_masks_know_tags_and_areas(tmp_path, monkeypatch):
    few = benchmark.make_weak_data.__globals__["load_shapes"](num_train=4, num_validation=3)
    monkeypatch.setitem(benchmark.make_weak_data.__globals__, "load_shapes", lambda: few)
    data = load_segmentation_dataset(str(benchmark.make_weak_data(tmp_path / "weak")), class_names=list("abcde"))
    assert "mask" not in data.train.column_names and None not in data.validation["mask"]
    for row, masked in zip(data.train, few["train"], strict=True):
        mask = np.asarray(masked["mask"])
        names = ["background", "circle", "square", "triangle", "cross"]
        areas = [(mask == c).sum() / (mask != 255).sum() for c in range(5)]
        assert row["class_areas"] == pytest.approx(areas)
        assert row["class_tags"] == [name for name, area in zip(names, areas, strict=True) if area]
