"""
Measures. One command a table; each run leaves one JSON record in docs/results/runs, and a run that has one is not
repeated, so that a command that was stopped goes on where it was. The tables and plots of docs/results.md are made
from the records.

    python scripts/benchmark.py --suite convergence --data shapes --seeds 0
    python scripts/benchmark.py --suite convergence --data shapes camvid voc-frozen --seeds 0 1 2 --jobs 2 \\
        --camvid FOLDER_OR_ID --voc FOLDER_OR_ID --encoder_weights tf_efficientnet_lite0.safetensors
    python scripts/benchmark.py --suite step_time
    python scripts/benchmark.py --suite tables
"""

import itertools
import json
import os
import queue
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from methods import DATA, METHODS, SUITES
from safetensors.torch import load_file
from tables import RESULTS, ROOT, RUNS, machine, write_record, write_tables
from tqdm import tqdm
from transformers import SegformerImageProcessor, TimmBackboneConfig, UperNetConfig, UperNetForSemanticSegmentation

from rss_hf import RSSConfig, RSSSegformerConfig, RSSSegformerForSemanticSegmentation, RSSTrainer, SegmentationTrainer
from rss_hf.cli.arguments import as_command_line, parse_args


OUTPUTS = ROOT / "outputs" / "benchmark"


@dataclass
class BenchmarkArguments:
    """What to measure."""

    suite: str = field(metadata={"help": "Which table.", "choices": [*SUITES, "step_time", "tables"]})
    data: list[str] = field(default_factory=lambda: ["shapes"], metadata={"help": "Which data.", "choices": [*DATA]})
    methods: list[str] | None = field(default=None, metadata={"help": "Only these lines of the table."})
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"help": "One run for each method and seed."})
    learning_rate: float | None = field(default=None, metadata={"help": "Instead of the one of the data's recipe."})
    jobs: int = field(default=1, metadata={"help": "Runs at a time; on a CPU each has its share of the cores."})
    camvid: str | None = field(default=None, metadata={"help": "Hub id or folder of CamVid."})
    voc: str | None = field(default=None, metadata={"help": "Hub id or folder of PASCAL VOC or of a part of it."})
    encoder_weights: str | None = field(
        default=None, metadata={"help": "Safetensors of timm's tf_efficientnet_lite0, the pretrained encoder."}
    )


def main():
    (args,) = parse_args(BenchmarkArguments)
    if args.suite in SUITES:
        measure_suite(args)
    elif args.suite == "step_time":
        for num_samples in (8, RSSConfig.num_samples):
            measure_step_time(num_samples)
        measure_step_time(RSSConfig.num_samples, size=64, batch_size=32, num_classes=5)
    write_tables(SUITES)


def measure_suite(args: BenchmarkArguments):
    """Every run of a suite that has no record yet, `args.jobs` at a time."""
    methods = args.methods or SUITES[args.suite]
    if unknown := set(methods) - set(METHODS):
        raise ValueError(f"--methods {sorted(unknown)}: the methods are {list(METHODS)}.")
    runs = list(itertools.product(args.seeds, args.data, methods))
    runs = [run for run in runs if not record_path(*run, args.learning_rate).exists()]
    options = {data: data_options(data, args) for data in {data for _, data, _ in runs}}
    shares = queue.Queue()
    cores = sorted(os.sched_getaffinity(0))
    for job in range(args.jobs):
        shares.put(set(cores[job :: args.jobs]))

    def measure(run: tuple[int, str, str]):
        data, method = run[1:]
        share = shares.get()
        rate = {} if args.learning_rate is None else {"learning_rate": args.learning_rate}
        try:
            measure_run(record_path(*run, args.learning_rate), *run, options[data] | METHODS[method] | rate, share)
        finally:
            shares.put(share)

    with ThreadPoolExecutor(args.jobs) as pool:
        for _ in tqdm(pool.map(measure, runs), total=len(runs), unit="run"):
            pass


def record_path(seed: int, data: str, method: str, learning_rate: float | None) -> Path:
    rate = "" if learning_rate is None else f"-lr{learning_rate:g}"
    return RUNS / f"{data}-{method}-{seed}{rate}.json".replace(" ", "_")


def data_options(data: str, args: BenchmarkArguments) -> dict:
    """Options of scripts/train.py that are the data's: its recipe and where the data and the encoder are."""
    options = dict(DATA[data])
    recipe = yaml.safe_load((ROOT / "configs" / f"{options.pop('config')}.yaml").read_text())
    source = data.partition("-")[0]
    if source in ("camvid", "voc"):
        place = getattr(args, source)
        if place is None:
            raise ValueError(f"--data {data} needs --{source}, a Hub id or folder.")
        options["dataset_name"] = place
    if "encoder_learning_rate" in recipe | options:
        options["model_name_or_path"] = str(make_upernet(args.encoder_weights, len(recipe["class_names"])))
    return recipe | options


def make_upernet(encoder_weights: str | None, num_labels: int) -> Path:
    """UperNet with a fresh head on EfficientNet-Lite0 of ImageNet (strides 8, 16, 32), as a folder to train from."""
    if encoder_weights is None:
        raise ValueError("A pretrained encoder needs --encoder_weights: safetensors of timm's tf_efficientnet_lite0.")
    backbone = TimmBackboneConfig(
        backbone="tf_efficientnet_lite0", out_indices=(2, 3, 4), use_pretrained_backbone=False
    )
    config = UperNetConfig(backbone_config=backbone, hidden_size=64, use_auxiliary_head=False, num_labels=num_labels)
    torch.manual_seed(0)
    model = UperNetForSemanticSegmentation(config)
    missing, _ = model.backbone._backbone.load_state_dict(load_file(encoder_weights), strict=False)
    if missing:
        raise ValueError(f"--encoder_weights {encoder_weights} lacks {len(missing)} tensors, {missing[0]} the first.")
    folder = OUTPUTS / f"upernet-{num_labels}"
    model.save_pretrained(folder)
    SegformerImageProcessor(image_mean=[127 / 255] * 3, image_std=[128 / 255] * 3).save_pretrained(folder)
    return folder


def measure_run(path: Path, seed: int, data: str, method: str, options: dict, cores: set[int]):
    """Trains in a process of its own, on these cores, and writes the record to `path`."""
    output_dir = OUTPUTS / path.stem
    options = options | {"seed": seed, "output_dir": str(output_dir), "disable_tqdm": True}
    output_dir.mkdir(parents=True, exist_ok=True)
    with open(output_dir / "log.txt", "a") as log:
        subprocess.run(
            [sys.executable, "scripts/train.py", *as_command_line(options)],
            cwd=ROOT,
            check=True,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    state = json.loads((output_dir / "trainer_state.json").read_text())
    results = json.loads((output_dir / "all_results.json").read_text())
    by_reward = options.get("objective") != "cross_entropy"
    record = {
        "data": data,
        "method": method,
        "seed": seed,
        "steps": state["global_step"],
        "learning_rate": options["learning_rate"],
        "reward": " + ".join(options["reward_funcs"]) if by_reward else None,
        "num_samples": options["num_samples"] if by_reward else None,
        "scales": options["scales"] if by_reward else None,
        "reward_queries": results.get("reward_queries", 0),
        "val_mean_iou": results["eval_mean_iou"],
        "val_mean_accuracy": results["eval_mean_accuracy"],
        "val_overall_accuracy": results["eval_overall_accuracy"],
        "seconds": results["train_runtime"],
        "curve": [
            [entry["step"], entry["eval_mean_iou"]] for entry in state["log_history"] if "eval_mean_iou" in entry
        ],
    }
    write_record(path, record | {"machine": machine(len(cores))})


def measure_step_time(num_samples: int, size: int = 512, batch_size: int = 2, num_classes: int = 21, pairs: int = 15):
    """Times a training step of each trainer in turn, SegFormer-B0; records the median of the ratios of the pairs."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
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
    write_record(RESULTS / f"step_time-{size}px-K{num_samples}.json", record)


if __name__ == "__main__":
    main()
