"""
From the records to the tables and plots of docs/results.md.

    python benchmarks/tables.py
"""

import json

import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from plan import DATA, METHODS, SUITES, configuration, source_of
from record import ROOT, read_records, records_of


PAGE = ROOT / "docs" / "results.md"
PLOTS = ROOT / "docs" / "results"


def main():
    write_tables()


def write_tables() -> None:
    """
    Replaces what stands between `<!-- SUITE -->` and `<!-- end -->` in docs/results.md by the table of the suite,
    `<!-- step-time -->` likewise, and draws the suites' plots.
    """
    runs = load_runs()
    tables = {name: table(runs, suite) for name, suite in SUITES.items()}
    page = PAGE.read_text()
    for name, lines in (tables | {"step-time": step_time_table()}).items():
        opening, closing = f"<!-- {name} -->\n", "<!-- end -->"
        if opening in page:
            before, _, rest = page.partition(opening)
            page = f"{before}{opening}{lines}\n{closing}{rest.partition(closing)[2]}"
    PAGE.write_text(page)
    for name, suite in SUITES.items():
        for data in suite.get("plots", []):
            rows = [row for row in suite["rows"] if row["data"] == data]
            over = suite["over"]
            figure = plot_rewards(runs, rows) if over == "rewards" else plot_curves(runs, rows, over)
            figure.savefig(PLOTS / f"{name}-{data}.png", dpi=120)


def load_runs() -> pd.DataFrame:
    """
    All runs, one a line, as recorded; scores by name, the configuration as text, `""` where none was recorded. Of runs
    of one configuration and seed the last is taken.
    """
    records = [record for source in sorted(set(map(source_of, DATA))) for record in read_records(records_of(source))]
    for record in records:
        record |= record["scores"]
        record["configuration"] = as_text(record["configuration"]) if "configuration" in record else ""
    keys = ["data", "method", "learning_rate", "seed", "configuration"]
    return pd.DataFrame(records).drop_duplicates(keys, keep="last")


def as_text(configuration: dict) -> str:
    """A configuration but for its seed, to compare runs by."""
    return json.dumps({name: value for name, value in configuration.items() if name != "seed"}, sort_keys=True)


def runs_of(runs: pd.DataFrame, row: dict) -> pd.DataFrame:
    """
    The runs of a row: of its method and learning rate, or of its configuration under another name. Of these, the ones
    of the configuration that was recorded last: no mean mixes two.
    """
    options = configuration(row)
    named = (runs["method"] == row["method"]) & (runs["learning_rate"] == options["learning_rate"])
    chosen = runs[(runs["data"] == row["data"]) & (named | (runs["configuration"] == as_text(options)))]
    return chosen[chosen["configuration"] == chosen["configuration"].iloc[-1]] if len(chosen) else chosen


def labels_score(runs: pd.DataFrame, data: str) -> float:
    """Mean IoU of cross-entropy on `data`, or on what `labels` names for it, at its best rate; NaN without a run."""
    data = DATA[data].get("labels", data)
    supervised = runs[(runs["data"] == data) & (runs["method"] == "cross-entropy")]
    rates = supervised["learning_rate"].unique()
    rows = [{"data": data, "method": "cross-entropy", "learning_rate": rate} for rate in rates]
    return max((runs_of(runs, row)["mean_iou"].mean() for row in rows), default=float("nan"))


def table(runs: pd.DataFrame, suite: dict) -> str:
    """
    The suite's table as Markdown, one line a row that has runs.

    Args:
        runs (`pd.DataFrame`): from [`load_runs`].
        suite (`dict`): `rows` and `columns` of methods.yaml.
    """
    lines = []
    for row in suite["rows"]:
        measured = runs_of(runs, row)
        if len(measured):
            labels = labels_score(runs, row["data"])
            lines.append({column: cell(column, row, measured, labels) for column in suite["columns"]})
    return pd.DataFrame(lines, columns=suite["columns"]).to_markdown(index=False, disable_numparse=True)


def cell(column: str, row: dict, runs: pd.DataFrame, labels: float) -> str:
    """
    What a column says of a row.

    Args:
        row (`dict`): of methods.yaml.
        runs (`pd.DataFrame`): the row's, one a seed.
        labels (`float`): mean IoU of cross-entropy.
    """
    first, score = runs.iloc[0], runs["mean_iou"]
    match column:
        case "data":
            return row["data"]
        case "method":
            gone = f" (no longer in the code; commit {first['commit']})"
            return row["method"] + gone * (row["method"] not in METHODS)
        case "judge sees":
            rival = METHODS.get(row["method"], {}).get("rival")
            return {"areas": "areas", "classifier": "tags"}.get(rival) or judge_sees(first["reward_funcs"])
        case "K":
            return "" if first["reward_funcs"] is None else f"{first['num_samples']:.0f}"
        case "reward calls":
            return thousands(first["reward_calls"]) if first["reward_calls"] else ""
        case "steps":
            return str(first["steps"])
        case "seeds":
            return str(len(runs))
        case "mIoU":
            return f"{score.mean():.3f} ± {score.std():.3f}" if len(runs) > 1 else f"{score.mean():.3f}"
        case "of labels":
            return f"{score.mean() / labels:.3f}" if labels == labels else ""
        case "accuracy":
            return mean_of(runs["overall_accuracy"])
        case "boundary_f1" | "object_count":
            return mean_of(runs[column])
        case "greedy reward" | "sampled reward":
            if first["reward_funcs"] is None:
                return ""
            last = runs["reward_curve"].map(lambda curve: curve[-1])
            return mean_of(last.map(lambda point: point[1 if column == "greedy reward" else 2]))
        case "mean accuracy":
            return mean_of(runs["mean_accuracy"])
        case "calls to 0.90":
            if not first["reward_calls"]:
                return ""
            calls = [calls_until(run, 0.9 * labels) for run in runs.sort_values("seed").to_dict("records")]
            return ", ".join("–" if number is None else thousands(number) for number in calls)
    raise ValueError(f"Unknown column {column!r}.")


def judge_sees(reward_funcs: list[str] | None) -> str:
    """What the rewards of a method are computed from."""
    if reward_funcs is None:
        return "labels"
    if {"batch_log_iou", "running_log_iou"} & set(reward_funcs):
        return "whole batch"
    if known := {"class_areas": "areas", "class_tags": "tags"}.get(reward_funcs[0]):
        return known
    return "pixels" if "pixel_match" in reward_funcs else "one map"


def mean_of(scores: pd.Series) -> str:
    return "" if scores.isna().any() else f"{scores.mean():.3f}"


def thousands(calls: float) -> str:
    return f"{calls / 1e6:.1f} M" if calls >= 1e6 else f"{calls / 1e3:.0f} k"


def calls_until(run: dict, score: float) -> float | None:
    """Reward calls until a run's validation mIoU reached `score`, linear between evaluations; None if it did not."""
    calls_per_step = run["reward_calls"] / run["steps"]
    last_step, last_score = 0, 0.0
    for step, now in run["curve"]:
        if now >= score:
            return calls_per_step * (last_step + (step - last_step) * (score - last_score) / (now - last_score))
        last_step, last_score = step, now
    return None


def step_time_table() -> str:
    """The records of measure_step_time.py as Markdown."""
    lines = [
        {
            "image": f"{record['size']}x{record['size']}",
            "batch": record["batch_size"],
            "classes": record["classes"],
            "K": record["num_samples"],
            "machine, date": f"{record['machine']}, {record['date']}",
            **{f"{name}, s": f"{seconds:.2f}" for name, seconds in record["median_seconds"].items()},
            "ratio": f"{record['median_ratio']:.2f} ({record['min_ratio']:.2f} to {record['max_ratio']:.2f})",
        }
        for record in read_records(records_of("step_time"))
    ]
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def plot_curves(runs: pd.DataFrame, rows: list[dict], over: str) -> Figure:
    """
    Validation mIoU over `"step"` or `"reward calls"`, a colour a row and a line a seed; over reward calls, labels are
    level at their last score.
    """
    figure = Figure(figsize=(9, 4 + 0.22 * len(rows)), layout="constrained")
    axis = figure.subplots()
    for index, row in enumerate(rows):
        for number, run in enumerate(runs_of(runs, row).to_dict("records")):
            style = {"color": colormaps["tab10"](index), "label": row["method"] if number == 0 else None}
            steps, scores = zip(*run["curve"], strict=True)
            if over == "step" or run["reward_calls"]:
                unit = 1 if over == "step" else run["reward_calls"] / run["steps"]
                axis.plot([step * unit for step in steps], scores, marker="o", markersize=3, **style)
            else:
                axis.axhline(scores[-1], linestyle="--", **style)
    axis.set(title=rows[0]["data"], xlabel=over, ylabel="validation mean IoU")
    axis.grid(alpha=0.3)
    figure.legend(loc="outside lower center", frameon=False)
    return figure


def plot_rewards(runs: pd.DataFrame, rows: list[dict]) -> Figure:
    """Rewards of the most probable maps, solid, and of drawn ones, dashed, over steps: a plot for each reward."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    figure.suptitle("Most probable maps: solid. Drawn maps: dashed. A line a seed.")
    rewarded = [
        (row, measured) for row in rows if len(measured := runs_of(runs, row)) and measured.iloc[0]["reward_funcs"]
    ]
    names = sorted({measured.iloc[0]["reward_funcs"][0] for _, measured in rewarded})
    for axis, name in zip(figure.subplots(1, max(len(names), 1), squeeze=False)[0], names, strict=False):
        of_name = [pair for pair in rewarded if pair[1].iloc[0]["reward_funcs"][0] == name]
        for index, (row, measured) in enumerate(of_name):
            for number, curve in enumerate(measured["reward_curve"]):
                steps, greedy, drawn = zip(*curve, strict=True)
                style = {"color": colormaps["tab10"](index)}
                axis.plot(steps, greedy, label=row["method"] if number == 0 else None, **style)
                axis.plot(steps, drawn, linestyle="--", **style)
        axis.set(title=name, xlabel="step", ylabel="validation reward")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
