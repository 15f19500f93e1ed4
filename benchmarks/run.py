"""
Measures the rows of a table of docs/results.md, then writes all tables anew.

    python benchmarks/run.py --suite coarse-judge --seeds 0 1 2
    python benchmarks/run.py --suite labels --seeds 0 1 2 --jobs 2 --camvid FOLDER_OR_ID --voc FOLDER_OR_ID \\
        --encoder_weights tf_efficientnet_lite0.safetensors
    python benchmarks/run.py --suite tables

benchmarks/methods.yaml says what is measured. Each run trains in a process of its own and adds one line to
benchmarks/records/. A run whose whole configuration has a line is not repeated, so that a command that was stopped
goes on where it was; a method or recipe that has changed since is another run. Lines from before configurations were
recorded stand in the tables until their row is measured again; they never keep a run from being made.
"""

import hashlib
import itertools
import json
import logging
import os
import queue
import re
import shlex
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from plan import DATA, ENCODER, METHODS, PLACES, SUITES, TRAINED, WEAK, configuration, source_of
from record import ROOT, append_record, provenance, read_records, records_of
from safetensors.torch import load_file
from tables import write_tables
from tqdm import tqdm
from transformers import SegformerImageProcessor, TimmBackboneConfig, UperNetConfig, UperNetForSemanticSegmentation
from weak_data import make_weak_data

from rss_hf.cli.arguments import as_command_line, parse_args


OUTPUTS = ROOT / "outputs" / "benchmark"
logger = logging.getLogger("benchmark")
writing = threading.Lock()


@dataclass
class BenchmarkArguments:
    """What to measure."""

    _argument_group_name = "Benchmark"

    suite: str = field(metadata={"help": "Which table; tables: measure nothing.", "choices": [*SUITES, "tables"]})
    data: list[str] | None = field(default=None, metadata={"help": "Only the table's rows on these data."})
    methods: list[str] | None = field(default=None, metadata={"help": "Only the table's rows of these methods."})
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"help": "One run for each row and seed."})
    jobs: int = field(default=1, metadata={"help": "Runs at a time; on a CPU each has its share of the cores."})
    camvid: str | None = field(default=None, metadata={"help": "Hub id or folder of CamVid."})
    voc: str | None = field(default=None, metadata={"help": "Hub id or folder of PASCAL VOC or of a part of it."})
    encoder_weights: str | None = field(
        default=None, metadata={"help": "Safetensors of timm's tf_efficientnet_lite0, the pretrained encoder."}
    )


@dataclass(frozen=True)
class Run:
    """One training: a row of a table and a seed."""

    suite: str
    data: str
    method: str
    configuration: dict

    @property
    def output_dir(self) -> Path:
        """Named after the whole configuration: a changed one must not resume from the other's checkpoints."""
        name = re.sub(r"[^a-z0-9]+", "-", f"{self.data} {self.method} {self.configuration['seed']}".lower())
        digest = hashlib.sha256(json.dumps(self.configuration, sort_keys=True).encode()).hexdigest()
        return OUTPUTS / f"{name}-{digest[:8]}"

    @property
    def command(self) -> str:
        words = ["python", "benchmarks/run.py", "--suite", self.suite, "--data", self.data]
        words += ["--methods", self.method, "--seeds", str(self.configuration["seed"])]
        encoder = " --encoder_weights FILE" * (DATA[self.data].get("model") == "upernet")
        return f"{shlex.join(words)} {PLACES.get(source_of(self.data), '')}{encoder}".strip()


def main():
    (args,) = parse_args(BenchmarkArguments, description=__doc__)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    if args.suite != "tables":
        measure(missing_runs(args), args)
    write_tables()


def missing_runs(args: BenchmarkArguments) -> list[Run]:
    """The runs of the suite's rows whose configuration no record has."""
    rows = [
        row
        for row in SUITES[args.suite]["rows"]
        if row["data"] in (args.data or DATA) and row["method"] in (args.methods or [row["method"]])
    ]
    if not rows:
        raise ValueError(f"--suite {args.suite} has no rows of --data {args.data} and --methods {args.methods}.")
    for row in rows:
        if row["method"] not in METHODS:
            logger.info("%s, %s: no longer in the code, not measured.", row["data"], row["method"])
    runs = [
        Run(args.suite, row["data"], row["method"], configuration(row, seed))
        for seed, row in itertools.product(args.seeds, rows)
        if row["method"] in METHODS
    ]
    sources = {source_of(run.data) for run in runs}
    made = [record.get("configuration") for source in sources for record in read_records(records_of(source))]
    return [run for run in runs if run.configuration not in made]


def measure(runs: list[Run], args: BenchmarkArguments) -> None:
    """Every run, `args.jobs` at a time."""
    places = [find_places(run.configuration, args) for run in runs]
    cores = sorted(os.sched_getaffinity(0))
    shares = queue.Queue()
    for job in range(args.jobs):
        shares.put(set(cores[job :: args.jobs]))

    def measure_on_share(run: Run, places: dict):
        share = shares.get()
        try:
            measure_run(run, places, share)
        finally:
            shares.put(share)

    with ThreadPoolExecutor(args.jobs) as pool:
        for _ in tqdm(pool.map(measure_on_share, runs, places), total=len(runs), unit="run"):
            pass


def find_places(configuration: dict, args: BenchmarkArguments) -> dict:
    """Where this machine has the data and the model that a configuration names."""
    places = {}
    if (source := configuration["dataset_name"]) in PLACES:
        if getattr(args, source) is None:
            raise ValueError(f"This needs {PLACES[source]}.")
        places["dataset_name"] = getattr(args, source)
    if source == WEAK:
        places["dataset_name"] = str(make_weak_data(OUTPUTS / "shapes-weak"))
    model = configuration.get("model_name_or_path") or ""
    if model.startswith(TRAINED):
        places["model_name_or_path"] = str(trained_on(model.removeprefix(TRAINED), configuration["seed"]))
    if model == ENCODER:
        folder = make_upernet(args.encoder_weights, len(configuration["class_names"]))
        places["model_name_or_path"] = str(folder)
    return places


def trained_on(data: str, seed: int) -> Path:
    """The folder of the cross-entropy run that others start from, a row of the same suite."""
    run = Run("tuning", data, "cross-entropy", configuration({"data": data, "method": "cross-entropy"}, seed))
    return run.output_dir


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


def measure_run(run: Run, places: dict, cores: set[int]) -> None:
    """Trains in a process of its own, on these cores, and adds the record."""
    run.output_dir.mkdir(parents=True, exist_ok=True)
    options = run.configuration | places | {"output_dir": str(run.output_dir), "disable_tqdm": True}
    rival = options.pop("rival", None)
    program = ["-m", "rss_hf.cli.train"] if rival is None else ["benchmarks/rivals.py", rival]
    call(run, [*program, *as_command_line(options)], cores)
    state = json.loads((run.output_dir / "trainer_state.json").read_text())
    results = json.loads((run.output_dir / "all_results.json").read_text())
    if judges := DATA[run.data].get("judged_by"):
        scores = run.output_dir / "scores.json"
        judged = {"model": str(run.output_dir), "dataset_name": options["dataset_name"], "reward_funcs": judges}
        call(run, ["-m", "rss_hf.cli.evaluate", *as_command_line(judged | {"output_file": str(scores)})], cores)
        results |= json.loads(scores.read_text())["scores"]
    if rival == "classifier":
        maps = run.output_dir / "activation_maps.json"
        call(run, ["benchmarks/activation_maps.py", str(run.output_dir), str(maps)], cores)
        results |= {f"eval_{name}": score for name, score in json.loads(maps.read_text())["scores"].items()}
    with writing:
        append_record(records_of(source_of(run.data)), make_record(run, state, results) | provenance(len(cores)))


def call(run: Run, words: list[str], cores: set[int]) -> None:
    """Runs Python on these cores, its output in the run's log."""
    log = run.output_dir / "log.txt"
    with log.open("a") as file:
        ended = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    if ended.returncode:
        raise RuntimeError(f"{run.method} on {run.data} ended with code {ended.returncode}; see {log}.")


def make_record(run: Run, state: dict, results: dict) -> dict:
    """
    What a run's line says of it.

    Args:
        state (`dict`): its trainer_state.json.
        results (`dict`): its all_results.json, and what the judges of its data say.
    """
    options = run.configuration
    by_reward = options.get("objective") != "cross_entropy"
    history = [entry for entry in state["log_history"] if "eval_mean_iou" in entry]
    return {
        "data": run.data,
        "method": run.method,
        "seed": options["seed"],
        "learning_rate": options["learning_rate"],
        "reward_funcs": options["reward_funcs"] if by_reward else None,
        "num_samples": options["num_samples"] if by_reward else None,
        "strides": options["strides"] if by_reward else None,
        "steps": state["global_step"],
        "reward_calls": results.get("reward_calls", 0),
        "scores": {name: results[f"eval_{name}"] for name in ("mean_iou", "mean_accuracy", "overall_accuracy")}
        | {name: results[f"reward/{name}"] for name in DATA[run.data].get("judged_by", [])},
        "seconds": results["train_runtime"],
        "command": run.command,
        "configuration": options,
        "curve": [[entry["step"], entry["eval_mean_iou"]] for entry in history],
        # of the most probable maps and of drawn ones
        "reward_curve": [[entry["step"], entry["eval_reward"], entry["eval_sampled_reward"]] for entry in history]
        if by_reward
        else None,
    }


if __name__ == "__main__":
    main()
