"""What a run leaves behind for people: a table of scores, a sheet of predictions, the curves of its training."""

import math
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from transformers import Trainer

from ..data import SegmentationData
from ..data.rows import is_missing, keep_encoded, open_row
from ..evaluation.predict import predict_maps
from .figures import comparison_sheet, training_curves


def percent(score: float) -> str:
    """A score in [0, 1] in percent, with two digits after the point; "-" where it is NaN: a class does not occur."""
    return "-" if math.isnan(score) else f"{100 * score:.2f}"


def score_table(scores: dict[str, float], class_names: list[str]) -> str:
    """
    What an evaluation measured as lines of text, the names of `scores` being without `eval_`. With labels: the scores
    of [`~rss_hf.evaluation.metrics.segmentation_scores`], in percent, one line a class, then the means. Where there
    are rewards: these, in their own units, of the most probable maps and, where they were measured, of drawn ones.
    """
    tables = []
    if "mean_iou" in scores:
        names = [*class_names, "mean", "overall"]
        iou = [percent(scores[f"iou_{name}"]) for name in class_names]
        accuracy = [percent(scores[f"accuracy_{name}"]) for name in class_names]
        iou += [percent(scores["mean_iou"]), ""]
        accuracy += [percent(scores["mean_accuracy"]), percent(scores["overall_accuracy"])]
        tables.append(pd.DataFrame({"IoU": iou, "accuracy": accuracy}, index=names).rename_axis(columns="class"))
    if "reward" in scores:
        keys = [name for name in scores if name.startswith("reward/")] + ["reward"]
        names = [name.removeprefix("reward/") for name in keys[:-1]] + ["weighted sum"]
        kinds = {"reward": "", "of drawn maps": "sampled_"}
        values = {
            kind: [f"{scores[prefix + name]:.4f}" for name in keys]
            for kind, prefix in kinds.items()
            if f"{prefix}reward" in scores
        }
        tables.append(pd.DataFrame(values, index=names))
    return "\n\n".join(table.to_string() for table in tables)


@torch.no_grad()
def write_report(trainer: Trainer, data: SegmentationData, metrics: dict[str, float], num_images: int = 6) -> str:
    """
    Writes `comparison.png` (the first `num_images` of the validation split, with their references or, where none has
    one, what their predictions earn) and `training_curves.png` to the output folder of a run.

    Args:
        trainer ([`SegmentationTrainer`]): after training.
        data ([`SegmentationData`]): what it was trained on, with masks or without.
        metrics (`dict[str, float]`): what `trainer.evaluate()` returned.
        num_images (`int`, *optional*, defaults to 6): rows of the sheet.

    Returns:
        `str`: the table of scores and where everything is.
    """
    output_dir = Path(trainer.args.output_dir)
    model = trainer.accelerator.unwrap_model(trainer.model).eval()
    rows, scores = [], []
    pairs = zip(keep_encoded(data.validation), trainer.eval_dataset, strict=False)
    for index, (row, example) in enumerate(islice(pairs, num_images)):
        image, reference = open_row(
            row, f"validation row {index}", data.mask_palette, reduce_labels=trainer.eval_dataset.reduce_labels
        )
        pixel_values = example["pixel_values"][None].to(trainer.args.device)
        (prediction,) = predict_maps(model, pixel_values, [(image.height, image.width)])
        rows.append((image, None if is_missing(row.get("mask")) else reference, prediction.cpu()))
        if "mask" not in row:
            scores.append(judged(trainer, model, example))
    comparison_sheet(rows, data.palette, data.class_names, output_dir / "comparison.png", scores or None)
    training_curves(trainer.state.log_history, output_dir / "training_curves.png")
    scores = {name.removeprefix("eval_"): value for name, value in metrics.items()}
    files = "\n".join(f"{output_dir / name}" for name in ("comparison.png", "training_curves.png", "all_results.json"))
    return f"{score_table(scores, data.class_names)}\n\n{files}"


def judged(trainer: Trainer, model: nn.Module, example: dict[str, Any]) -> tuple[str, np.ndarray | None]:
    """What the most probable map of an example earns: each reward, a line each, and the map of a pixel-level sum."""
    inputs = trainer.data_collator([example])
    pixel_values = inputs["pixel_values"].to(trainer.args.device)
    maps = torch.stack(predict_maps(model, pixel_values, [pixel_values.shape[-2:]]))
    rewards = trainer.judge(maps, inputs)
    total = rewards.pop("reward")[0].cpu().numpy()
    lines = [f"{name} {values.nanmean().item():.4f}" for name, values in rewards.items()]
    if len(lines) > 1:
        lines.append(f"weighted sum {np.nanmean(total):.4f}")
    return "\n".join(lines), total if total.size > 1 else None
