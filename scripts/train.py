"""
Trains a segmentation network from rewards, or from labels for comparison.

    accelerate launch scripts/train.py --config configs/shapes.yaml
    accelerate launch scripts/train.py --config configs/shapes.yaml --objective cross_entropy --output_dir outputs/ce
"""

import logging
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from datasets import IterableDataset
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    SegformerImageProcessor,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from rss_hf import (
    RSSConfig,
    RSSSegformerConfig,
    RSSSegformerForSemanticSegmentation,
    RSSTrainer,
    SegmentationTrainer,
)
from rss_hf.cli.arguments import DataArguments, parse_args
from rss_hf.data import (
    EvalTransform,
    SegmentationDataset,
    StreamingSegmentationDataset,
    check_labels,
    load_segmentation_dataset,
    train_transform,
)
from rss_hf.reporting.report import write_report
from rss_hf.training.rss_config import MEMORIZING


logger = logging.getLogger("rss_hf")


@dataclass
class ModelArguments:
    """What is trained."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Hub id or folder of an encoder or segmentation model; empty: SegFormer-B0 from scratch."},
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of the model."})
    ignore_mismatched_sizes: bool = field(
        default=False, metadata={"help": "Start a head for other classes afresh instead of refusing the checkpoint."}
    )
    objective: str = field(
        default="reward", metadata={"help": "What to learn from.", "choices": ["reward", "cross_entropy"]}
    )


@dataclass
class AugmentationArguments:
    """How training images are varied."""

    image_size: list[int] = field(
        default_factory=lambda: [512, 512], metadata={"help": "Height and width of training crops and model input."}
    )
    scale_range: list[float] = field(
        default_factory=lambda: [0.5, 2.0], metadata={"help": "Random scale of training images, from and to."}
    )
    photometric_distortion: bool = field(default=True, metadata={"help": "Vary brightness, contrast and colour."})


def main():
    model_args, data_args, augmentation, args = parse_args(
        ModelArguments, DataArguments, AugmentationArguments, RSSConfig
    )
    sys.path.append(os.getcwd())  # where a user's own rewards are, for --reward_funcs module:function
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logger.setLevel(logging.INFO if args.should_log else logging.WARNING)
    checkpoint = find_checkpoint(args)
    use_all_cores(args)
    set_seed(args.seed)

    with args.main_process_first(desc="reading the data"):
        data = load_segmentation_dataset(**vars(data_args))
        for split, dataset in (("train", data.train), ("validation", data.validation)):
            check_labels(dataset, len(data.class_names), split)
    model, processor = load_model(model_args, data.class_names, tuple(augmentation.image_size))
    transform = train_transform(
        tuple(augmentation.image_size),
        processor.image_mean,
        processor.image_std,
        scale_range=tuple(augmentation.scale_range),
        photometric_distortion=augmentation.photometric_distortion,
    )
    if data_args.streaming:
        args.accelerator_config.dispatch_batches = False  # label maps of several sizes cannot be cut and sent around
    remembers = args.credit in MEMORIZING and model_args.objective == "reward"
    trainer_class = RSSTrainer if model_args.objective == "reward" else SegmentationTrainer
    trainer = trainer_class(
        model=model,
        args=args,
        train_dataset=as_torch_dataset(data.train, transform, args.seed, len(data.class_names), remembers),
        eval_dataset=as_torch_dataset(data.validation, EvalTransform(processor), args.seed, len(data.class_names)),
        processing_class=processor,
        data_source=data.source,
    )
    if args.do_train:
        result = trainer.train(resume_from_checkpoint=checkpoint)
        trainer.save_model()
        trainer.save_state()
        trainer.save_metrics("train", result.metrics)
    metrics = trainer.evaluate()
    trainer.save_metrics("eval", metrics)
    if trainer.is_world_process_zero():
        print(write_report(trainer, data, metrics))
    if args.do_train:
        trainer.create_model_card()  # now with the final scores
    if args.push_to_hub:
        trainer.push_to_hub()


def as_torch_dataset(rows, transform, seed: int, num_classes: int, positions: bool = False):
    """Rows, stored or streamed, as examples."""
    if isinstance(rows, IterableDataset):
        if positions:
            raise ValueError(
                f"credit in {MEMORIZING} remembers images, which a streamed data set does not let it find."
            )
        return StreamingSegmentationDataset(rows, transform, seed, num_classes)
    return SegmentationDataset(rows, transform, seed, positions)


def find_checkpoint(args: RSSConfig) -> str | None:
    """The checkpoint to resume from. Refuses to train over earlier checkpoints that nobody asked to resume."""
    last = get_last_checkpoint(args.output_dir) if Path(args.output_dir).is_dir() else None
    if args.resume_from_checkpoint == "last":
        return last
    if last is not None and args.do_train and args.resume_from_checkpoint is None:
        raise ValueError(
            f"{args.output_dir} holds checkpoints, up to {Path(last).name}. Continue with "
            "'--resume_from_checkpoint last', or train elsewhere with another --output_dir."
        )
    return args.resume_from_checkpoint


def use_all_cores(args: RSSConfig) -> None:
    """On a CPU: this process's share of the cores. `accelerate launch` gives one thread where it is told nothing."""
    if args.device.type == "cpu":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        torch.set_num_threads(max(1, cores // args.world_size))


def load_model(model_args: ModelArguments, class_names: list[str], image_size: tuple[int, int]):
    """The model, its head made for the classes, and the image processor that belongs to it."""
    id2label = dict(enumerate(class_names))
    labels = {"id2label": id2label, "label2id": {name: i for i, name in id2label.items()}}
    size = {"height": image_size[0], "width": image_size[1]}
    path, revision = model_args.model_name_or_path, model_args.model_revision
    if not path:
        return RSSSegformerForSemanticSegmentation(RSSSegformerConfig(**labels)), SegformerImageProcessor(size=size)
    model_type = AutoConfig.from_pretrained(path, revision=revision).model_type
    is_segformer = model_type in ("segformer", RSSSegformerConfig.model_type)
    model_class = RSSSegformerForSemanticSegmentation if is_segformer else AutoModelForSemanticSegmentation
    model = model_class.from_pretrained(
        path, revision=revision, ignore_mismatched_sizes=model_args.ignore_mismatched_sizes, **labels
    )
    return model, AutoImageProcessor.from_pretrained(path, revision=revision, size=size)


if __name__ == "__main__":
    main()
