"""Run by `accelerate launch`: three SGD steps on 8 images a step, shared by the processes; writes weights and logs."""

import json
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from helpers.models import make_tiny_policy
from helpers.training import CRITIC, Scenes, logged, train, weights


if __name__ == "__main__":
    output_dir = Path(sys.argv[1])
    processes = PartialState().num_processes
    options = {"credit": sys.argv[2], "advantage_normalization": "batch"}  # SyncAN: over both processes
    if sys.argv[2] == "critic":
        options = CRITIC | {"expected_iou_coef": 1.0, "critic_reach": [1.0, 2.0], "exploration_coef": 1.0}
    trainer = train(
        make_tiny_policy(),
        output_dir,
        Scenes(16, empty=range(4)),  # at some step a process has images without a valid pixel
        per_device_train_batch_size=8 // processes,
        optim="sgd",
        learning_rate=1.0,
        max_grad_norm=0.0,
        **options,
        num_iterations=int(sys.argv[3]),
        reward_funcs=[sys.argv[4]],
        logging_steps=int(sys.argv[3]),  # a log for each draw
    )
    scores = trainer.evaluate()
    if trainer.is_world_process_zero():
        torch.save(weights(trainer), output_dir / "weights.pt")
        logs = logged(trainer, "reward", "reward_std", "entropy", "frac_zero_std", "reward_queries")
        (output_dir / "logs.json").write_text(json.dumps({"logs": logs, "miou": scores["eval_mean_iou"]}))
