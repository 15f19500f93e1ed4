"""
Run by torch's launcher: trains each variant of the settings and writes its weights, logs and score.

    python train_parallel.py OUTPUT_DIR '{"NAME": {SETTING: VALUE, ...}, ...}'
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from helpers.models import make_tiny_policy
from helpers.training import Scenes, logged, train, weights


def three_draws(output_dir: Path, num_processes: int, **settings: Any) -> dict[str, Any]:
    """Trains by SGD on 8 images a step, shared by the processes."""
    trainer = train(
        make_tiny_policy(),
        str(output_dir),
        Scenes(16, empty=range(4)),  # at some step a process has images without a valid pixel
        per_device_train_batch_size=8 // num_processes,
        optim="sgd",
        learning_rate=1.0,
        max_grad_norm=0.0,
        logging_steps=settings.get("num_iterations", 1),  # a log for each draw
        **settings,
    )
    return {
        "weights": weights(trainer),
        "logs": torch.tensor(logged(trainer, "reward", "reward_std", "entropy", "frac_zero_std", "reward_calls")),
        "mean_iou": torch.tensor(trainer.evaluate()["eval_mean_iou"]),
        "num_processes": trainer.args.world_size,
    }


if __name__ == "__main__":
    state = PartialState(cpu=True)
    for name, settings in json.loads(sys.argv[2]).items():
        folder = Path(sys.argv[1], name)
        result = three_draws(folder, state.num_processes, **settings)
        if state.is_main_process:
            torch.save(result, folder / "result.pt")
