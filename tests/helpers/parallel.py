"""The same training run by one process and by two."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch


TESTS = Path(__file__).parents[1]


def launch(num_processes, output_dir, *options):
    output_dir.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(num_processes)]
    command += [str(TESTS / "helpers" / "train_parallel.py"), str(output_dir), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    logs = json.loads((output_dir / "logs.json").read_text())
    assert logs["world_size"] == num_processes
    return torch.load(output_dir / "weights.pt"), logs


def assert_two_processes_are_one(tmp_path, *options):
    """Weights, logs and scores of two processes with 4 images each are those of one with 8."""
    (one, one_logs), (two, two_logs) = (launch(n, tmp_path / str(n), *options) for n in (1, 2))
    # Sums of float32 in another order over three steps; statistics of a single process would differ in the percents.
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(torch.tensor(two_logs["logs"]), torch.tensor(one_logs["logs"]), rtol=1e-4, atol=1e-6)
    assert two_logs["miou"] == pytest.approx(one_logs["miou"], abs=1e-9)
