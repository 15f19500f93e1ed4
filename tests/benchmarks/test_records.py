"""Every record says what it must, or that it does not."""

import json
import re

import pytest
from plan import DATA, source_of
from record import RECORDS, append_record, provenance, read_records


RUN_KEYS = {"data", "method", "seed", "learning_rate", "reward_funcs", "num_samples", "strides", "steps"}
RUN_KEYS |= {"reward_calls", "scores", "seconds", "curve"}
WHENCE_KEYS = ("date", "commit", "machine", "versions", "command")
FILES = sorted(RECORDS.glob("*.jsonl"))
RUN_FILES = [path for path in FILES if path.stem in ("camvid", "shapes", "voc")]


def test_the_files_are_there():
    assert [path.stem for path in FILES] == ["camvid", "demo", "hub", "reliability", "shapes", "step_time", "voc"]
    assert sum(len(read_records(path)) for path in RUN_FILES) >= 327


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_line_says_whence_it_is_or_that_it_does_not(path):
    for record in read_records(path):
        missing = record.get("not_recorded", [])
        for key in WHENCE_KEYS:
            assert record.get(key) or key in missing, (record, key)
        assert record.keys().isdisjoint(missing)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"])
        assert "torch" in record["versions"]
        assert not re.search(r'[" =]/\w', json.dumps(record))  # no place of one machine


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda path: path.stem)
def test_every_run_is_whole(path):
    for record in read_records(path):
        assert not RUN_KEYS - set(record), record
        assert source_of(record["data"]) == path.stem
        assert record["configuration"] if "not_recorded" not in record else "configuration" in record["not_recorded"]
        scores = {"mean_iou", "mean_accuracy", "overall_accuracy", *DATA.get(record["data"], {}).get("judged_by", [])}
        lacking = {name.removeprefix("scores.") for name in record.get("not_recorded", []) if "." in name}
        assert set(record["scores"]) == scores - lacking
        assert all(0 <= score <= 1 for score in record["scores"].values())
        steps, curve = zip(*record["curve"], strict=True)
        assert list(steps) == sorted(set(steps)) and steps[-1] == record["steps"]
        options = record.get("configuration", {})
        if options.get("rival") != "classifier":  # which is scored by its activation maps at the end
            assert curve[-1] == pytest.approx(record["scores"]["mean_iou"], abs=1e-12)
        if record["method"] == "cross-entropy" or options.get("objective") == "cross_entropy":
            assert record["reward_funcs"] is record["num_samples"] is record["strides"] is None
            assert record["reward_calls"] == 0
        else:
            assert record["reward_calls"] > 0 and record["num_samples"] and record["strides"]


def test_records_are_added_at_the_end(tmp_path):
    path = tmp_path / "new" / "shapes.jsonl"
    for number in (1, 2):
        append_record(path, {"number": number, "curve": [[1, 0.5]]})
    assert read_records(path) == [{"number": 1, "curve": [[1, 0.5]]}, {"number": 2, "curve": [[1, 0.5]]}]


def test_provenance():
    about = provenance(cores=2)
    assert list(about) == ["date", "commit", "machine", "versions"]
    assert about["machine"].startswith("2 CPU cores, ") or "NVIDIA" in about["machine"]
    assert list(about["versions"]) == ["torch", "transformers", "rss-hf"]
