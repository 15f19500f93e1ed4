"""Two processes with 4 images each take the step of one process with 8."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch


TESTS = Path(__file__).parent


def launch(num_processes, output_dir, *options):
    output_dir.mkdir()
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", str(num_processes)]
    command += ["--main_process_port", "0", str(TESTS / "train_parallel.py"), str(output_dir), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return torch.load(output_dir / "weights.pt"), json.loads((output_dir / "logs.json").read_text())


@pytest.mark.parametrize(
    "options",
    [
        ("leave_one_out", "1", "mean_iou"),
        ("coupled", "1", "mean_iou"),
        ("leave_one_out", "2", "batch_log_iou"),
        ("leave_one_out", "1", "running_log_iou"),
        ("critic", "1", "pixel_accuracy"),
        ("control_variate", "2", "running_log_iou"),
    ],
)
def test_two_processes_are_one(tmp_path, options):
    (one, one_logs), (two, two_logs) = (launch(n, tmp_path / str(n), *options) for n in (1, 2))
    # Sums of float32 in another order over three steps; statistics of a single process would differ in the percents.
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(torch.tensor(two_logs["logs"]), torch.tensor(one_logs["logs"]), rtol=1e-4, atol=1e-6)
    assert two_logs["miou"] == pytest.approx(one_logs["miou"], abs=1e-9)
