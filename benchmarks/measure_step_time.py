"""
Times a training step from rewards against one from labels, into benchmarks/records/step_time.jsonl.

    python benchmarks/measure_step_time.py
"""

import os
import statistics
import tempfile
import time

import torch
from record import append_record, provenance, records_of
from tqdm import tqdm

from rss_hf import RSSConfig, RSSSegformerConfig, RSSSegformerForSemanticSegmentation, RSSTrainer, SegmentationTrainer


def main():
    for num_samples in (8, 128):
        measure(num_samples, size=512, batch_size=2, num_classes=21)
    measure(128, size=64, batch_size=32, num_classes=5)


def measure(num_samples: int, size: int, batch_size: int, num_classes: int, pairs: int = 15) -> None:
    """Steps of both trainers in turn, SegFormer-B0; records the median of the ratios of the pairs."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(num_classes, (batch_size, size // 16, size // 16), generator=generator)
    inputs = {
        "pixel_values": torch.randn(batch_size, 3, size, size, generator=generator),
        "labels": blocks.repeat_interleave(16, 1).repeat_interleave(16, 2),
    }
    trainers = {
        name: make_trainer(trainer_class, num_samples, num_classes)
        for name, trainer_class in (("cross-entropy", SegmentationTrainer), ("default", RSSTrainer))
    }
    for trainer in trainers.values():
        seconds_of_step(trainer, inputs), seconds_of_step(trainer, inputs)
    times = [
        {name: seconds_of_step(trainer, inputs) for name, trainer in trainers.items()}
        for _ in tqdm(range(pairs), unit="pair")
    ]
    ratios = [pair["default"] / pair["cross-entropy"] for pair in times]
    record = {"command": "python benchmarks/measure_step_time.py"} | provenance()
    record |= {"size": size, "batch_size": batch_size, "num_samples": num_samples, "classes": num_classes}
    record |= {
        "pairs": pairs,
        "median_seconds": {name: statistics.median(pair[name] for pair in times) for name in trainers},
        "median_ratio": statistics.median(ratios),
        "min_ratio": min(ratios),
        "max_ratio": max(ratios),
    }
    append_record(records_of("step_time"), record)


def make_trainer(trainer_class: type, num_samples: int, num_classes: int):
    torch.manual_seed(0)
    model = RSSSegformerForSemanticSegmentation(RSSSegformerConfig(num_labels=num_classes))
    args = RSSConfig(output_dir=tempfile.mkdtemp(), num_samples=num_samples, max_steps=1)
    trainer = trainer_class(model=model, args=args)
    trainer.create_optimizer_and_scheduler(1)
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def seconds_of_step(trainer, inputs: dict) -> float:
    start = time.perf_counter()
    trainer.training_step(trainer.model, dict(inputs))
    trainer.optimizer.step()
    trainer.model.zero_grad()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
