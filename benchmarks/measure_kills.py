"""
Kills training by SIGKILL at random moments, resumes it, and compares the final weights with those of a run that was
left alone. A third of the kills is aimed at a save: a checkpoint is written at every second step.

    python benchmarks/measure_kills.py --trials 60 --seed 0

One JSON line goes to benchmarks/records/reliability.jsonl.
"""

import argparse
import os
import random
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch
from record import RECORDS, append_record, provenance
from safetensors.torch import load_file

from rss_hf.cli import train  # imported once: each run is a fork of this process


SETTINGS = {
    "leave_one_out": ["--reward_funcs", "running_log_iou"],
    "score_posterior": ["--recipe", "few_calls"],
    "control_variate": ["--recipe", "few_calls_pretrained"],
    "two steps a batch": ["--num_iterations", "2"],
}
COMMON = ["--dataset_name", "shapes", "--max_train_samples", "48", "--max_eval_samples", "4", "--image_size", "32"]
COMMON += ["--per_device_train_batch_size", "8", "--num_samples", "4", "--max_steps", "12", "--use_cpu", "true"]
COMMON += [
    "--resume_from_checkpoint",
    "last",
    "--report_to",
    "none",
    "--disable_tqdm",
    "true",
    "--save_total_limit",
    "2",
]


def start(output_dir: Path, settings: list[str], save_steps: int) -> int:
    """The process number of a training run that prints into a file."""
    child = os.fork()
    if child:
        return child
    log = os.open(f"{output_dir}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        train.main([*COMMON, *settings, "--save_steps", str(save_steps), "--output_dir", str(output_dir)])
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(status)  # the child must not go on with what the parent does


def finish(output_dir: Path, settings: list[str], save_steps: int) -> tuple[dict[str, torch.Tensor] | None, float]:
    """The final weights of a run that is left alone, None if it failed, and its seconds."""
    begin = time.perf_counter()
    _, status = os.waitpid(start(output_dir, settings, save_steps), 0)
    seconds = time.perf_counter() - begin
    return (load_file(output_dir / "model.safetensors") if status == 0 else None), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # threads do not survive a fork
    chance, folder = random.Random(args.seed), Path(tempfile.mkdtemp())
    expected = {name: finish(folder / f"whole-{i}", SETTINGS[name], 4) for i, name in enumerate(SETTINGS)}
    failed, during_save, kills = [], 0, 0
    for trial in range(args.trials):
        name, save_steps = list(SETTINGS)[trial % len(SETTINGS)], 2 if trial % 3 == 0 else 4
        output_dir = folder / f"killed-{trial}"
        for _ in range(chance.choice([1, 1, 2])):  # a resumed run is killed too now and then
            child = start(output_dir, SETTINGS[name], save_steps)
            time.sleep(chance.uniform(0.3, 1.1) * expected[name][1])
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            kills += 1
            during_save += (output_dir / ".writing").exists()
        weights, _ = finish(output_dir, SETTINGS[name], save_steps)
        wanted = expected[name][0]
        if weights is None or not all(torch.equal(weights[key], wanted[key]) for key in wanted):
            failed.append(f"{trial}: {name}")
        print(f"{trial + 1} of {args.trials}, {kills} kills, {during_save} of them during a save, failed: {failed}")
    record = {
        "command": shlex.join(["python", *sys.argv]),
        "measure": "kills",
        "trials": args.trials,
        "kills": kills,
        "kills_during_a_save": during_save,
    }
    record |= {"same_weights": args.trials - len(failed), "failed": failed, "seed": args.seed, "settings": SETTINGS}
    append_record(RECORDS / "reliability.jsonl", record | provenance())


if __name__ == "__main__":
    main()
