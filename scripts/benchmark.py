"""
Measures. Each run leaves one JSON record in docs/results; runs that have one are not repeated.

    python scripts/benchmark.py --suite convergence --data shapes --seeds 0 1 2
    python scripts/benchmark.py --suite convergence --data camvid --dataset_name FOLDER_OR_ID --seeds 0
    python scripts/benchmark.py --suite step_time
    python scripts/benchmark.py --suite tables
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from rss_hf import RSSConfig, RSSSegformerConfig, RSSSegformerForSemanticSegmentation, RSSTrainer, SegmentationTrainer
from rss_hf.cli import parse_args


ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
METHODS = {
    "cross-entropy": ["--objective", "cross_entropy"],
    "image-level": ["--reward_funcs", "mean_iou"],
    "pixel-level": ["--reward_funcs", "pixel_match"],
}


@dataclass
class BenchmarkArguments:
    """What to measure."""

    suite: str = field(metadata={"help": "Which.", "choices": ["convergence", "step_time", "tables"]})
    data: str = field(
        default="shapes", metadata={"help": "The recipe configs/DATA.yaml.", "choices": ["shapes", "camvid"]}
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "Where the data is, if not where the recipe says."}
    )
    methods: list[str] = field(default_factory=lambda: ["cross-entropy", "image-level"], metadata={"help": "Which."})
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"help": "One run for each method and seed."})


def main():
    (args,) = parse_args(BenchmarkArguments)
    RESULTS.mkdir(parents=True, exist_ok=True)
    if args.suite == "convergence":
        runs = [(method, seed) for seed in args.seeds for method in args.methods]
        for method, seed in tqdm(runs, unit="run"):
            measure_convergence(args, method, seed)
    elif args.suite == "step_time":
        measure_step_time()
    write_tables()


def machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{cores} CPU core{'s' * (cores > 1)}"
    return f"{device}, {platform.machine()}, torch {torch.__version__}"


def commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()


def write_record(path: Path, record: dict):
    record |= {"machine": machine(), "date": date.today().isoformat(), "commit": commit()}
    path.write_text(json.dumps(record, indent=1) + "\n")


def measure_convergence(args: BenchmarkArguments, method: str, seed: int):
    """Trains by the recipe with one method and seed, and records its scores over training."""
    path = RESULTS / f"convergence-{args.data}-{method}-{seed}.json"
    if path.exists():
        return
    output_dir = ROOT / "outputs" / "benchmark" / path.stem
    options = [*METHODS[method], "--seed", str(seed)]
    if args.dataset_name is not None:
        options += ["--dataset_name", args.dataset_name]
    command = [sys.executable, "scripts/train.py", "--config", f"configs/{args.data}.yaml", *options]
    subprocess.run([*command, "--output_dir", str(output_dir)], cwd=ROOT, check=True)
    history = json.loads((output_dir / "trainer_state.json").read_text())["log_history"]
    results = json.loads((output_dir / "all_results.json").read_text())
    logs = [entry for entry in history if "loss" in entry]
    record = {
        "data": args.data,
        "method": method,
        "seed": seed,
        "steps": logs[-1]["step"],
        "reward_queries": logs[-1].get("reward_queries", 0),
        "val_mean_iou": results["eval_mean_iou"],
        "seconds": results["train_runtime"],
        "curve": [[entry["step"], entry["eval_mean_iou"]] for entry in history if "eval_mean_iou" in entry],
    }
    write_record(path, record)


def measure_step_time(
    size: int = 512, batch_size: int = 2, num_classes: int = 21, num_samples: int = 8, pairs: int = 15
):
    """Times a training step of each trainer in turn, SegFormer-B0; records the median of the ratios of the pairs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(cores)
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "pixel_values": torch.randn(batch_size, 3, size, size, generator=generator),
        "labels": torch.randint(num_classes, (batch_size, size // 16, size // 16), generator=generator)
        .repeat_interleave(16, 1)
        .repeat_interleave(16, 2),
    }
    steps = {}
    for name, trainer_class in {"cross-entropy": SegmentationTrainer, "image-level": RSSTrainer}.items():
        torch.manual_seed(0)
        model = RSSSegformerForSemanticSegmentation(RSSSegformerConfig(num_labels=num_classes))
        args = RSSConfig(output_dir=str(ROOT / "outputs" / "step_time"), num_samples=num_samples, max_steps=1)
        trainer = trainer_class(model=model, args=args)
        trainer.create_optimizer_and_scheduler(1)
        trainer.current_gradient_accumulation_steps = 1
        steps[name] = trainer

    def seconds(trainer) -> float:
        start = time.perf_counter()
        trainer.training_step(trainer.model, dict(inputs))
        trainer.optimizer.step()
        trainer.model.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start

    for trainer in steps.values():
        seconds(trainer), seconds(trainer)
    times = [{name: seconds(trainer) for name, trainer in steps.items()} for _ in tqdm(range(pairs), unit="pair")]
    ratios = [pair["image-level"] / pair["cross-entropy"] for pair in times]
    record = {
        "size": size,
        "batch_size": batch_size,
        "num_samples": num_samples,
        "classes": num_classes,
        "pairs": pairs,
    }
    record["median_seconds"] = {name: statistics.median(pair[name] for pair in times) for name in steps}
    record |= {"median_ratio": statistics.median(ratios), "min_ratio": min(ratios), "max_ratio": max(ratios)}
    write_record(RESULTS / "step_time.json", record)


def write_tables():
    """From all records of convergence: docs/results/convergence.md, and a plot of the curves for each data set."""
    records = pd.DataFrame([json.loads(path.read_text()) for path in sorted(RESULTS.glob("convergence-*.json"))])
    if records.empty:
        return
    table = records.groupby(["data", "method"]).agg(
        steps=("steps", "first"),
        queries=("reward_queries", "first"),
        seeds=("seed", "nunique"),
        mean=("val_mean_iou", "mean"),
        lowest=("val_mean_iou", "min"),
        highest=("val_mean_iou", "max"),
    )
    baseline = table["mean"].xs("cross-entropy", level="method").reindex(table.index.get_level_values("data"))
    table["over cross-entropy"] = table["mean"] / baseline.to_numpy()
    (RESULTS / "convergence.md").write_text(table.reset_index().to_markdown(index=False, floatfmt=".4f") + "\n")
    for data, runs in records.groupby("data"):
        figure = Figure(figsize=(6, 4), layout="constrained")
        axis = figure.subplots()
        for index, (method, group) in enumerate(runs.groupby("method")):
            for number, curve in enumerate(group["curve"]):
                label = method if number == 0 else None
                axis.plot(*zip(*curve, strict=True), color=f"C{index}", marker="o", markersize=3, label=label)
        axis.set(title=data, xlabel="step", ylabel="validation mean IoU")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
        figure.savefig(RESULTS / f"convergence-{data}.png", dpi=120)


if __name__ == "__main__":
    main()
