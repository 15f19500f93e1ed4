"""
Measures what docs/reliability.md says of the Hub, against the loopback Hub of tests/helpers/hub_server.py, into
benchmarks/records/hub.jsonl.

    python benchmarks/measure_hub.py --model FOLDER --data FOLDER --fresh_python PYTHON

The functions `push`, `load` and `push_data` run in processes of their own, `load` where rss_hf is not installed.
"""

import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


ROOT = Path(__file__).parents[1]
HELPERS = ROOT / "tests" / "helpers"
sys.path.append(str(HELPERS.parent))

from helpers.hub_client import MODEL, PLAIN, VOC, script  # noqa: E402
from helpers.hub_server import Fault, Hub  # noqa: E402


CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
OPTIONS = "--image_size 128 128 --max_steps 60 --per_device_train_batch_size 4 --per_device_eval_batch_size 8"
OPTIONS += " --eval_steps 30 --save_steps 30 --warmup_steps 5 --bf16 false --dataloader_num_workers 0"
FAULTS = [{"kind": "drop"}, {"kind": "cut"}, {"kind": "delay", "seconds": 1.0}]
FAULTS[2:2] = [{"kind": "status", "status": status} for status in (401, 409, 412, 500)]

logger = logging.getLogger("measure_hub")


@dataclass
class MeasureArguments:
    """What to measure with."""

    _argument_group_name = "Measurement"

    model: str = field(metadata={"help": "Folder of a trained model."})
    data: str = field(metadata={"help": "Data set folder with PASCAL VOC's classes."})
    fresh_python: str = field(metadata={"help": "The Python of a virtual environment without rss_hf."})


def main():
    from record import append_record, provenance, records_of

    from rss_hf.cli.arguments import parse_args

    (args,) = parse_args(MeasureArguments, description=__doc__)
    args = MeasureArguments(*(str(Path(path).absolute()) for path in (args.model, args.data, args.fresh_python)))
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    logger.setLevel(logging.INFO)
    for measure in (loading, training, faults, onnx):
        with tempfile.TemporaryDirectory() as out:
            figures = measure(args, Path(out))
        logger.info("%s: %s", measure.__name__, json.dumps(figures, indent=1))
        command = "python benchmarks/measure_hub.py --model FOLDER --data FOLDER --fresh_python PYTHON"
        append_record(records_of("hub"), {"measure": measure.__name__, "command": command} | provenance() | figures)


def run(hub: Hub, *command, python: str = sys.executable):
    """A new process whose Hub is `hub`, with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | hub.environment(cache) | {"OMP_NUM_THREADS": str(CORES)}
        environment["PYTHONPATH"] = str(HELPERS.parent)
        words = [python, *map(str, command)]
        result = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=Path(__file__).parent)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(words)} failed:\n{result.stderr[-3000:]}")


def call(hub: Hub, function: Callable, *arguments, python: str = sys.executable):
    """A function of this file in a new process."""
    run(hub, "-c", f"import measure_hub; measure_hub.{function.__name__}{tuple(map(str, arguments))}", python=python)


def loading(args: MeasureArguments, out: Path) -> dict:
    """Pushed by one process, loaded in an environment without rss_hf by every way: are the logits the same bits?"""
    with Hub() as hub:
        call(hub, push, args.model, out)
        call(hub, load, args.model, out, python=args.fresh_python)
        files = hub.repos[f"models/{MODEL}"].files("main")
    weights = (Path(args.model) / "model.safetensors").read_bytes()
    return json.loads((out / "loaded.json").read_text()) | {"same_file": files["model.safetensors"] == weights}


def push(model: str, out: str):
    """Pushes a model, and the same as plain SegFormer; `out` gets an input and its logits."""
    import torch
    from transformers import AutoModelForSemanticSegmentation

    from rss_hf.hub.export import export_segformer

    script("push_to_hub", "--folder", model, "--repo_id", MODEL)
    export_segformer(MODEL, Path(out) / "plain")
    script("push_to_hub", "--folder", Path(out) / "plain", "--repo_id", PLAIN)
    pixels = torch.randn(2, 3, 128, 192, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = AutoModelForSemanticSegmentation.from_pretrained(model)(pixels).logits
    torch.save({"pixels": pixels, "logits": logits, "torch": str(torch.__version__)}, Path(out) / "pushed.pt")


def load(model: str, out: str):
    """Compares the logits of every way of loading with those of the folder that was pushed, loaded here from disk."""
    import importlib.util

    import torch
    import transformers
    from transformers import AutoModel, AutoModelForSemanticSegmentation, SegformerForSemanticSegmentation, pipeline

    trust = {"trust_remote_code": True}
    models = {
        "AutoModel": AutoModel.from_pretrained(MODEL, **trust),
        "AutoModelForSemanticSegmentation": AutoModelForSemanticSegmentation.from_pretrained(MODEL, **trust),
        "pipeline": pipeline("image-segmentation", MODEL, device="cpu", **trust).model,
        "vanilla export": SegformerForSemanticSegmentation.from_pretrained(PLAIN),
    }
    pushed = torch.load(Path(out) / "pushed.pt")
    with torch.no_grad():
        expected = AutoModelForSemanticSegmentation.from_pretrained(model, **trust)(pushed["pixels"]).logits
        logits = {way: model(pushed["pixels"]).logits for way, model in models.items()}
    seen = {
        "rss_hf_installed": importlib.util.find_spec("rss_hf") is not None,
        "torch": {"pushing": pushed["torch"], "loading": torch.__version__},
        "transformers": transformers.__version__,
        "bit_equal_to_folder": {way: torch.equal(values, expected) for way, values in logits.items()},
        "difference_to_pushing": {way: float((v - pushed["logits"]).abs().max()) for way, v in logits.items()},
        "logits_std": float(pushed["logits"].std()),
    }
    (Path(out) / "loaded.json").write_text(json.dumps(seen))


def training(args: MeasureArguments, out: Path) -> dict:
    """A training on a data set of the Hub, pushed to the Hub: the score as it ended, of the folder, of the Hub."""
    with Hub() as hub:
        call(hub, push_data, args.data, out)
        words = ["--config", ROOT / "configs/voc_image_level.yaml", "--dataset_name", VOC, "--model_name_or_path", ""]
        words += [*OPTIONS.split(), "--output_dir", out / "run", "--push_to_hub", "--hub_model_id", MODEL]
        run(hub, ROOT / "scripts/train.py", *words)
        for name, model in (("folder", out / "run"), ("hub", MODEL)):
            options = ["--model", model, "--dataset_name", VOC, "--num_workers", 0, "--batch_size", 8]
            run(hub, ROOT / "scripts/evaluate_model.py", *options, "--output_file", out / f"{name}.json")
    results = json.loads((out / "run" / "all_results.json").read_text())
    scores = {"end_of_training": results["eval_mean_iou"]}
    for name in ("folder", "hub"):
        scores[name] = json.loads((out / f"{name}.json").read_text())["scores"]["mean_iou"]
    commits = hub.requests.count(f"POST /api/models/{MODEL}/commit/main")
    about = {"rows": json.loads((out / "rows.json").read_text()), "options": OPTIONS, "model_commits": commits}
    return about | {"mean_iou": scores, "equal": len(set(scores.values())) == 1}


def push_data(folder: str, out: str):
    """Pushes a data set; `out` gets its rows by split."""
    from datasets import load_dataset

    splits = load_dataset(folder)
    splits.push_to_hub(VOC)
    (Path(out) / "rows.json").write_text(json.dumps(splits.num_rows))


class WatchedHub(Hub):
    """Counts the faults that met a request."""

    struck = 0

    def next_fault(self) -> Fault | None:
        fault = super().next_fault()
        self.struck += fault is not None and fault.kind != "none"
        return fault


def faults(args: MeasureArguments, out: Path) -> dict:
    """20 trainings, a fault at another request each: how many end, and how many of their folders are on the Hub?"""
    injected = [FAULTS[at % len(FAULTS)] | {"at": at} for at in range(20)]
    with WatchedHub() as hub:
        run(hub, HELPERS / "hub_client.py", "train_with_faults", out, json.dumps(injected))
    ended, folders, whole = 0, 0, 0
    for run_folder in (out / f"faulty-{index}" for index in range(len(injected))):
        ended += json.loads((run_folder / "checkpoint-2" / "trainer_state.json").read_text())["global_step"] == 2
        there = hub.repos[f"models/org/{run_folder.name}"].files("main")
        for folder in (run_folder, run_folder / "checkpoint-1", run_folder / "checkpoint-2"):
            local = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
            del local["training_args.bin"]  # holds the token, stays at home
            place = Path() if folder == run_folder else Path(folder.name)
            pushed = {Path(path).name: there[path] for path in there if Path(path).parent == place}
            if folder == run_folder:  # over what the last checkpoint's push brought
                local["trainer_state.json"] = (folder / "checkpoint-2" / "trainer_state.json").read_bytes()
                del pushed[".gitattributes"]
            folders += 1
            whole += pushed == local
    reported = sum(len(errors) for errors in json.loads((out / "errors.json").read_text()))
    counts = {"trainings": len(injected), "faults_met": hub.struck, "ended": ended}
    return counts | {"folders": folders, "identical_on_the_hub": whole, "reported_as_missing": reported}


def onnx(args: MeasureArguments, out: Path) -> dict:
    """The exported model against torch on the CPU, at 512x512: logits, and seconds of alternating runs."""
    import onnxruntime
    import torch
    from transformers import AutoModelForSemanticSegmentation

    from rss_hf.hub.export import export_onnx

    export_onnx(args.model, out / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = CORES
    session = onnxruntime.InferenceSession(out / "model.onnx", options, providers=["CPUExecutionProvider"])
    torch.set_num_threads(CORES)
    model = AutoModelForSemanticSegmentation.from_pretrained(args.model, dtype=torch.float32)
    pixels = torch.randn(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    ways = {
        "torch": lambda: model(pixels).logits,
        "onnx": lambda: torch.from_numpy(session.run(None, {"pixel_values": pixels.numpy()})[0]),
    }
    seconds = {name: [] for name in ways}
    with torch.inference_mode():
        logits = {name: way() for name, way in ways.items()}  # also warms up
        for _ in range(10):
            for name, way in ways.items():
                time.sleep(0.1)  # until the other's threads have stopped waiting for work
                start = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - start)
    return {
        "largest_difference": float((logits["onnx"] - logits["torch"]).abs().max()),
        "logits_std": float(logits["torch"].std()),
        "threads": CORES,
        "median_seconds": {name: round(statistics.median(values), 4) for name, values in seconds.items()},
        "seconds_lowest_highest": {name: [round(min(v), 4), round(max(v), 4)] for name, v in seconds.items()},
    }


if __name__ == "__main__":
    main()
