"""The same training run by one process and by two."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from helpers.train_parallel import three_draws


TESTS = Path(__file__).parents[1]


def train_on_two_processes(folder: Path, variants: dict[str, dict]) -> dict[str, dict[str, Any]]:
    """What two processes with 4 images each come to, by the name of the variant."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(TESTS / "helpers" / "train_parallel.py"), str(folder), json.dumps(variants)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    launched = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert launched.returncode == 0, launched.stderr[-3000:]
    return {name: torch.load(folder / name / "result.pt") for name in variants}


def assert_one_process_is_the_same(two: dict[str, Any], folder: Path, settings: dict[str, Any]) -> None:
    """Weights, logs and scores of two processes with 4 images each are those of one with 8."""
    one = three_draws(folder, 1, **settings)
    assert (two.pop("num_processes"), one.pop("num_processes")) == (2, 1)
    # Sums of float32 in another order over three steps; statistics of a single process would differ in the percents.
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)
