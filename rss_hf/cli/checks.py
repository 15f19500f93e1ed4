"""Checks of what a command was given, before it spends time: folders, image sizes, strides, names of metrics."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import PreTrainedModel, Trainer
from transformers.integrations import get_available_reporting_integrations

from ..data.checks import SplitContents
from ..training import RSSConfig


def check_writable(option: str, folder: str | Path) -> None:
    """Makes a folder. Raises a `ValueError` that names the option where it cannot be made or written to."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = "it is a file" if isinstance(error, FileExistsError) else error
        raise ValueError(
            f"--{option} {str(folder)!r} cannot be written to: {reason}. Choose another folder."
        ) from error


def small_images(contents: list[SplitContents], image_size: list[int]) -> str | None:
    """A sentence where no image has half of the sides that training takes, which costs time for nothing."""
    sizes = [size for content in contents for size in content.sizes]  # (width, height)
    if not sizes or any(2 * width > image_size[1] or 2 * height > image_size[0] for width, height in sizes):
        return None
    width, height = max(sizes)
    return (
        f"The images are small, up to {height}x{width} pixels, and the network is given {image_size[0]}x"
        f"{image_size[1]}: --image_size {height} {width} takes a fraction of the time."
    )


def check_window(window: list[int] | None) -> None:
    """Raises a `ValueError` unless a window is a height and a width in pixels."""
    if window is not None and (len(window) != 2 or min(window) < 1):
        raise ValueError(f"window={window} must be a height and a width in pixels, above 0.")


def check_strides(strides: list[int], image_size: list[int]) -> None:
    """Raises a `ValueError` for a stride that leaves one site for a whole image."""
    if max(strides) > max(image_size):
        raise ValueError(
            f"strides={strides}: a stride of {max(strides)} pixels leaves one action for a whole image of "
            f"image_size={image_size}. Strides are at most {max(image_size)}; 4 and below give maps with details."
        )


@torch.no_grad()
def check_image_size(model: PreTrainedModel, image_size: list[int]) -> None:
    """Raises a `ValueError` where a model cannot process images of this (height, width)."""
    training = model.training
    model.eval()  # so that no random number is drawn
    try:
        model(pixel_values=torch.zeros(1, 3, *image_size))
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"{type(model).__name__} cannot process images of image_size={image_size}: {error}. Use larger sides, "
            "multiples of 32."
        ) from error
    model.train(training)


def check_report_to(args: RSSConfig) -> None:
    """Raises a `ValueError` where training is to be reported to what is not installed."""
    available = get_available_reporting_integrations()
    for name in args.report_to:
        if name not in available:
            raise ValueError(
                f"report_to={name!r} is not installed or not known; {available or 'nothing'} is. Or none."
            )


def check_optimizer(trainer: Trainer) -> None:
    """Raises a `ValueError` where the optimizer or the course of its rate cannot be made. Leaves none of them."""
    args = trainer.args
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:  # which make it from a model that is split already
        return
    try:
        trainer.create_optimizer_and_scheduler(max(args.max_steps, 1))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"optim={args.optim.value!r} with optim_args={args.optim_args!r}, or lr_scheduler_type="
            f"{args.lr_scheduler_type.value!r} with lr_scheduler_kwargs={args.lr_scheduler_kwargs}, cannot be made: "
            f"{error}"
        ) from error
    trainer.optimizer = trainer.lr_scheduler = None


def check_metric(args: RSSConfig, class_names: Iterable[str], rewards: Iterable[str]) -> None:
    """
    Raises a `ValueError` where evaluation does not give the metric that checkpoints are chosen by: the scores of the
    classes, of which there are none without masks, and the rewards.
    """
    metric = args.metric_for_best_model
    if metric is None:
        return
    scores = [f"{kind}_{name}" for name in class_names for kind in ("iou", "accuracy")]
    names = ["mean_iou", "mean_accuracy", "overall_accuracy"] if scores else []
    names += ["reward", "sampled_reward", *(f"{k}/{name}" for k in ("reward", "sampled_reward") for name in rewards)]
    names += scores
    if metric.removeprefix("eval_") not in names:
        raise ValueError(f"metric_for_best_model={metric!r} is none of the metrics: {', '.join(names)}.")
