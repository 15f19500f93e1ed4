"""The benchmark's tables say what its records hold, and every method of it is one that scripts/train.py takes."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from rss_hf import RSSConfig


ROOT = Path(__file__).parents[2]
pd = pytest.importorskip("pandas", reason="the extra 'benchmark' is not installed")
sys.path.append(str(ROOT / "benchmarks"))

import run as benchmark  # noqa: E402
import tables as benchmark_tables  # noqa: E402


def write_run(folder, method, seed, score, learning_rate=1e-3):
    record = {"data": "shapes", "method": method, "seed": seed, "steps": 2, "val_mean_iou": score, "seconds": 7.4}
    record |= {"val_mean_accuracy": score, "val_overall_accuracy": score, "num_samples": None, "reward_queries": 0}
    record["scales"] = None
    if method != "cross-entropy":
        record |= {"num_samples": 4, "scales": [8, 4], "reward_queries": 1000}
    record["learning_rate"] = learning_rate
    record["curve"] = [[1, score / 2], [2, score]]
    (folder / f"{method}-{seed}-{learning_rate}.json").write_text(json.dumps(record))


def test_tables_are_written_between_their_marks(tmp_path, monkeypatch):
    page, runs = tmp_path / "results.md", tmp_path / "runs"
    runs.mkdir()
    monkeypatch.setattr(benchmark_tables, "PAGE", page)
    monkeypatch.setattr(benchmark_tables, "RESULTS", tmp_path)
    monkeypatch.setattr(benchmark_tables, "RUNS", runs)
    page.write_text("before\n<!-- convergence shapes -->\nold\n<!-- end -->\nbetween <!-- end -->\n")
    for method, seed, score in (("cross-entropy", 0, 0.5), ("image-level", 0, 0.5), ("image-level", 1, 0.6)):
        write_run(runs, method, seed, score)
    write_run(runs, "cross-entropy", 0, 0.25, learning_rate=1e-2)
    benchmark_tables.write_tables({"convergence": ["image-level", "cross-entropy", "pixel-level"], "other": ["K=2"]})
    text = page.read_text()
    assert text.startswith("before\n<!-- convergence shapes -->\n| method") and "old" not in text
    assert text.endswith("|\n<!-- end -->\nbetween <!-- end -->\n")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert [row[0] for row in rows] == ["method", rows[1][0], "image-level", "cross-entropy", "cross-entropy"]
    cells = [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]
    assert [cells[0][name] for name in ("K", "strides", "reward queries", "mIoU")] == ["4", "8, 4", "1000", "0.550"]
    assert [cells[0][name] for name in ("seeds", "learning_rate")] == ["2", "0.001"]
    assert [cells[0][name] for name in ("lowest", "highest", "over cross-entropy")] == ["0.500", "0.600", "1.100"]
    assert [cells[1][name] for name in ("K", "strides", "reward queries", "over cross-entropy")] == [
        "",
        "",
        "0",
        "1.000",
    ]
    assert [cells[2][name] for name in ("learning_rate", "mIoU", "over cross-entropy")] == ["0.01", "0.250", "0.500"]
    assert (tmp_path / "convergence-shapes.png").stat().st_size > 1000


def test_curves_are_drawn_over_steps_or_queries(tmp_path):
    """Steps 1 and 2 of 2; 1000 queries in all for the reward, none for cross-entropy."""
    write_run(tmp_path, "cross-entropy", 0, 0.5)
    write_run(tmp_path, "image-level", 0, 0.6)
    runs = pd.DataFrame([json.loads(path.read_text()) for path in sorted(tmp_path.glob("*.json"))])
    drawn = {}
    for over in ("step", "reward queries"):
        figure = benchmark_tables.plot_curves(runs, ["cross-entropy", "image-level"], "", tmp_path / "plot.png", over)
        drawn[over] = [tuple(map(list, line.get_data())) for line in figure.axes[0].lines]
    assert drawn["step"] == [([1, 2], [0.25, 0.5]), ([1, 2], [0.3, 0.6])]
    assert drawn["reward queries"][0][1] == [0.5, 0.5] and drawn["reward queries"][1] == ([500, 1000], [0.3, 0.6])
    assert (tmp_path / "plot.png").stat().st_size > 1000


@pytest.mark.parametrize("method", benchmark.METHODS)
def test_every_method_is_a_configuration(method, tmp_path):
    for data in benchmark.DATA.values():
        recipe = yaml.safe_load((ROOT / "configs" / f"{data['config']}.yaml").read_text())
        options = recipe | data | benchmark.METHODS[method]
        known = {name: value for name, value in options.items() if name in RSSConfig.__dataclass_fields__}
        RSSConfig(**known | {"output_dir": str(tmp_path), "use_cpu": True})


def test_every_suite_names_methods():
    assert {method for methods in benchmark.SUITES.values() for method in methods} == set(benchmark.METHODS)
