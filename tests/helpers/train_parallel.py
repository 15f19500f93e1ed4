"""
Run by torch's launcher: three SGD steps on 8 images a step, shared by the processes; writes weights and logs.

    python train_parallel.py OUTPUT_DIR ESTIMATOR SCALE_REWARDS NUM_ITERATIONS REWARD ESTIMATOR_SETTINGS
"""

import json
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from helpers.models import make_tiny_policy
from helpers.training import Scenes, logged, train, weights


if __name__ == "__main__":
    output_dir, name, scale_rewards, num_iterations, reward, settings = sys.argv[1:]
    processes = PartialState(cpu=True).num_processes
    trainer = train(
        make_tiny_policy(),
        output_dir,
        Scenes(16, empty=range(4)),  # at some step a process has images without a valid pixel
        per_device_train_batch_size=8 // processes,
        optim="sgd",
        learning_rate=1.0,
        max_grad_norm=0.0,
        advantage_estimator=name,
        scale_rewards=scale_rewards,
        num_iterations=int(num_iterations),
        reward_funcs=[reward],
        estimator=json.loads(settings),
        logging_steps=int(num_iterations),  # a log for each draw
    )
    scores = trainer.evaluate()
    if trainer.is_world_process_zero():
        torch.save(weights(trainer), Path(output_dir, "weights.pt"))
        logs = logged(trainer, "reward", "reward_std", "entropy", "frac_zero_std", "reward_calls")
        record = {"logs": logs, "miou": scores["eval_mean_iou"], "world_size": trainer.args.world_size}
        Path(output_dir, "logs.json").write_text(json.dumps(record))
