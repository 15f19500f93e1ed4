"""
Trains a segmentation network from rewards, with masks or without, or from labels for comparison.

    rss-hf train --dataset_name shapes --image_size 64 --output_dir outputs/shapes
    rss-hf train --config configs/shapes.yaml --recipe few_calls --max_train_samples 1000 --output_dir outputs/few
    accelerate launch -m rss_hf.cli.train --config configs/shapes.yaml --objective cross_entropy
"""

import logging
import os
import sys
from pathlib import Path

import psutil
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import BaseImageProcessor, PreTrainedModel, set_seed

from ..data import (
    SegmentationData,
    check_splits,
    evaluation_examples,
    load_segmentation_dataset,
    reduces_labels,
    training_examples,
)
from ..reporting.report import write_report
from ..rewards import get_reward
from ..training import (
    RSSConfig,
    RSSTrainer,
    SegmentationTrainer,
    ignore_index_of,
    load_image_processor,
    load_model,
)
from ..training.checkpoints import find_checkpoint as newest_checkpoint
from ..training.model_loading import find_model
from ..training.trainer_data import lacks_masks, name_views
from .arguments import AugmentationArguments, DataArguments, ModelArguments, parse_args
from .checks import (
    check_image_size,
    check_metric,
    check_optimizer,
    check_report_to,
    check_strides,
    check_writable,
    small_images,
)
from .errors import one_line_errors, one_line_own_errors


logger = logging.getLogger("rss_hf")


def main(argv: list[str] | None = None) -> None:
    """Runs the command."""
    with one_line_errors():
        trainer, data, checkpoint = prepare(argv)
    with one_line_own_errors():
        run(trainer, data, checkpoint)


def prepare(argv: list[str] | None) -> tuple[SegmentationTrainer, SegmentationData, str | None]:
    """The trainer that a command line asks for, its data and the checkpoint to go on from, all checked."""
    model_args, data_args, augmentation, args = parse_args(
        ModelArguments, DataArguments, AugmentationArguments, RSSConfig, argv=argv, description=__doc__
    )
    sys.path.append(os.getcwd())  # where a user's own rewards are, for --reward_funcs module:function
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logger.setLevel(logging.INFO if args.should_log else logging.WARNING)
    trainer_class = RSSTrainer if model_args.objective == "reward" else SegmentationTrainer
    positions = trainer_class.needs_positions(args)
    check_together(model_args, data_args, augmentation, args, positions)
    checkpoint = find_checkpoint(args)
    if args.should_save:
        check_writable("output_dir", args.output_dir)
    use_all_cores(args)
    set_seed(args.seed)

    with args.main_process_first(desc="reading the data"):
        data = load_segmentation_dataset(**vars(data_args))
    model, processor = make_model(model_args, args, data.class_names, tuple(augmentation.image_size))
    with args.main_process_first(desc="checking the data"):
        splits = {"train": data.train, "validation": data.validation}
        contents = check_splits(splits, len(data.class_names), data.mask_palette, reduces_labels(processor))
    if warning := small_images(contents, augmentation.image_size):
        logger.warning("%s", warning)
    check_image_size(model, augmentation.image_size)
    reward_funcs = [*args.reward_funcs, *(args.eval_reward_funcs or [])]
    views = model_args.objective == "reward" and name_views(map(get_reward, reward_funcs))
    options = {
        "ignore_index": ignore_index_of(model),
        "palette": data.mask_palette,
        "num_classes": len(data.class_names),
        "views": views,
    }
    trainer = trainer_class(
        model=model,
        args=args,
        train_dataset=training_examples(
            data.train, processor, **vars(augmentation), seed=args.seed, positions=positions, **options
        ),
        eval_dataset=evaluation_examples(data.validation, processor, **options),
        processing_class=processor,
        data_source=data.source,
    )
    rewards = trainer.evaluation_rewards().names if isinstance(trainer, RSSTrainer) else []
    check_metric(args, [] if lacks_masks(trainer.eval_dataset) else data.class_names, rewards)
    check_optimizer(trainer)
    return trainer, data, checkpoint


def check_together(
    model_args: ModelArguments,
    data_args: DataArguments,
    augmentation: AugmentationArguments,
    args: RSSConfig,
    positions: bool,
) -> None:
    """Raises a `ValueError` for options that do not go together, or for a model's folder that is not there."""
    if model_args.model_name_or_path:
        find_model(model_args.model_name_or_path)
    check_report_to(args)
    if model_args.objective == "reward":
        check_strides(args.strides, augmentation.image_size)
    if positions and data_args.streaming:
        raise ValueError(
            f"advantage_estimator={args.advantage_estimator!r} finds each image again when it comes back, which "
            "--streaming does not let it do. Leave out --streaming, or use another estimator."
        )
    if data_args.streaming and args.do_train and args.max_steps < 0:
        raise ValueError("--streaming needs --max_steps, because the length of a stream is not known.")


def run(trainer: SegmentationTrainer, data: SegmentationData, checkpoint: str | None) -> None:
    """Trains, evaluates and writes all that is kept."""
    args = trainer.args
    if args.do_train:
        result = trainer.train(resume_from_checkpoint=checkpoint)
        trainer.save_model()
        trainer.save_state()
        if result.metrics:  # of steps that were trained now
            trainer.save_metrics("train", result.metrics)
    metrics = trainer.evaluate()
    trainer.save_metrics("eval", metrics)
    if trainer.is_world_process_zero():
        print(write_report(trainer, data, metrics))
    if args.do_train:
        trainer.create_model_card()  # now with the final scores
    if args.push_to_hub:
        trainer.push_to_hub()


def find_checkpoint(args: RSSConfig) -> str | None:
    """The checkpoint to resume from. Refuses to train over earlier checkpoints that nobody asked to resume."""
    last = newest_checkpoint(args.output_dir)
    if args.resume_from_checkpoint == "last":
        return last
    if last is not None and args.do_train and args.resume_from_checkpoint is None:
        raise ValueError(
            f"{args.output_dir} holds checkpoints, up to {Path(last).name}. Continue with "
            "'--resume_from_checkpoint last', or train elsewhere with another --output_dir."
        )
    if args.resume_from_checkpoint is not None and not Path(args.resume_from_checkpoint).is_dir():
        newest = f", the newest whole one in {args.output_dir} is {Path(last).name}" if last else ""
        raise ValueError(
            f"resume_from_checkpoint={args.resume_from_checkpoint!r}: there is no such folder{newest}. Give the "
            "folder of a checkpoint, or 'last'."
        )
    return args.resume_from_checkpoint


def use_all_cores(args: RSSConfig) -> None:
    """On a CPU: as many threads as this process's share of the cores, unless the user set OMP_NUM_THREADS."""
    if args.device.type == "cpu" and not user_set_threads():
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        torch.set_num_threads(max(1, cores // args.world_size))


def user_set_threads() -> bool:
    """Whether the user chose a number of threads by OMP_NUM_THREADS."""
    # `accelerate launch`, even of one process, and torchrun set it to 1 where it is not set. Their own environment,
    # that of this process's parent, tells their 1 from the user's.
    launched = "LOCAL_RANK" in os.environ or "ACCELERATE_DYNAMO_MODE" in os.environ
    if launched and os.environ.get("OMP_NUM_THREADS") == "1":
        try:
            return "OMP_NUM_THREADS" in psutil.Process(os.getppid()).environ()
        except psutil.Error:  # not ours to read
            return False
    return "OMP_NUM_THREADS" in os.environ


def make_model(
    model_args: ModelArguments, args: RSSConfig, class_names: list[str], image_size: tuple[int, int]
) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """The model, its head made for the classes, and the image processor that belongs to it."""
    path = model_args.model_name_or_path
    source, options, args.model_init_kwargs = {}, args.model_init_kwargs or {}, None
    if path:
        source = {"revision": model_args.model_revision, "trust_remote_code": model_args.trust_remote_code}
        options = {"ignore_mismatched_sizes": model_args.ignore_mismatched_sizes} | options
    if (given := options.get("num_labels", len(class_names))) != len(class_names):
        raise ValueError(f"model_init_kwargs: num_labels is {given}, but there are {len(class_names)} classes.")
    try:
        model = load_model(path, dict(enumerate(class_names)), **source, **options)
    except (TypeError, StrictDataclassError) as error:
        options.pop("ignore_mismatched_sizes", None)  # an option of its own
        raise ValueError(f"model_init_kwargs={options} do not fit the model: {error}") from error
    return model, load_image_processor(path, image_size, **source)


if __name__ == "__main__":
    main()
