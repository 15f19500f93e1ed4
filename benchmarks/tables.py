"""From the records of scripts/benchmark.py to the tables and plots of docs/results.md."""

import json
import os
import platform
import subprocess
from datetime import date
from pathlib import Path

import pandas as pd
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure


ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"
RESULTS = ROOT / "docs" / "results"
RUNS = RESULTS / "runs"


def machine(cores: int | None = None) -> str:
    """What measures: the GPU, or as many cores, by default those this process may use."""
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{cores} CPU core{'s' * (cores > 1)}"
    return f"{device}, {platform.machine()}, torch {torch.__version__}"


def commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()


def write_record(path: Path, record: dict):
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"machine": machine(), "date": date.today().isoformat(), "commit": commit()} | record
    path.write_text(json.dumps(record, indent=1) + "\n")


def write_tables(suites: dict[str, list[str]]):
    """
    Replaces what stands between `<!-- SUITE DATA -->` and `<!-- end -->` in docs/results.md by the table of that
    suite's methods on that data, and draws their validation mIoU over training.

    Args:
        suites (`dict[str, list[str]]`): the methods of each suite, in the order of its table.
    """
    runs = pd.DataFrame([json.loads(path.read_text()) for path in sorted(RUNS.glob("*.json"))])
    page = PAGE.read_text()
    for suite, methods in suites.items():
        for data in runs["data"].unique():
            opening, closing = f"<!-- {suite} {data} -->\n", "<!-- end -->"
            if opening in page:
                chosen = runs[(runs["data"] == data) & runs["method"].isin(methods)]
                before, _, rest = page.partition(opening)
                page = f"{before}{opening}{table(chosen, methods)}\n{closing}{rest.partition(closing)[2]}"
                over = "reward queries" if suite == "queries" else "step"
                plot_curves(chosen, methods, f"{suite}, {data}", RESULTS / f"{suite}-{data}.png", over)
    PAGE.write_text(page)


def table(runs: pd.DataFrame, methods: list[str]) -> str:
    """
    A line for each method and learning rate: mean and spread of validation scores over seeds, and the ratio to
    cross-entropy at its best learning rate.
    """
    columns = {
        "steps": ("steps", "first"),
        "K": ("num_samples", "first"),
        "strides": ("scales", "first"),
        "reward queries": ("reward_queries", "first"),
        "seeds": ("seed", "nunique"),
        "mIoU": ("val_mean_iou", "mean"),
        "lowest": ("val_mean_iou", "min"),
        "highest": ("val_mean_iou", "max"),
        "mean accuracy": ("val_mean_accuracy", "mean"),
        "accuracy": ("val_overall_accuracy", "mean"),
        "seconds": ("seconds", "median"),
    }
    rows = runs.groupby(["method", "learning_rate"]).agg(**columns).reset_index()
    rows["strides"] = [", ".join(map(str, strides)) if strides else "" for strides in rows["strides"]]
    rows = rows.sort_values("method", key=lambda names: names.map(methods.index), kind="stable")
    supervised = rows["mIoU"][rows["method"] == "cross-entropy"]
    if not supervised.empty:
        rows["over cross-entropy"] = rows["mIoU"] / supervised.max()
    formats = dict.fromkeys(["mIoU", "lowest", "highest", "mean accuracy", "accuracy", "over cross-entropy"], "{:.3f}")
    formats |= dict.fromkeys(["steps", "K", "reward queries", "seeds", "seconds"], "{:.0f}")
    formats["learning_rate"] = "{:g}"
    for column in formats.keys() & set(rows):
        rows[column] = [formats[column].format(value) if value == value else "" for value in rows[column]]
    return rows.to_markdown(index=False, disable_numparse=True)


def best_rate(runs: pd.DataFrame) -> pd.DataFrame:
    """Of one method's runs, those at the learning rate whose mean score is best."""
    means = runs.groupby("learning_rate")["val_mean_iou"].mean()
    return runs[runs["learning_rate"] == means.idxmax()] if len(means) else runs


def plot_curves(runs: pd.DataFrame, methods: list[str], title: str, path: Path, over: str = "step") -> Figure:
    """
    Validation mIoU `over` training's steps or reward queries, one colour a method, at its best learning rate, and one
    line a seed; what queries no reward is level over queries, at its last score.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    axis = figure.subplots()
    shown = set(runs["method"])
    for index, method in enumerate(name for name in methods if name in shown):
        best = best_rate(runs[runs["method"] == method])
        for number, run in enumerate(best.to_dict("records")):
            style = {"color": colormaps["tab20"](index), "label": method if number == 0 else None}
            steps, scores = zip(*run["curve"], strict=True)
            if over == "step" or run["reward_queries"]:
                unit = 1 if over == "step" else run["reward_queries"] / run["steps"]
                axis.plot([step * unit for step in steps], scores, marker="o", markersize=3, **style)
            else:
                axis.axhline(scores[-1], linestyle="--", **style)
    axis.set(title=title, xlabel=over, ylabel="validation mean IoU")
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=120)
    return figure
