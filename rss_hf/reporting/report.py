"""What a run leaves behind for people: a table of scores, a sheet of predictions, the curves of its training."""

import math
from itertools import islice
from pathlib import Path

import pandas as pd
import torch
from transformers import Trainer

from ..data import SegmentationData
from ..data.rows import keep_encoded, open_row
from ..evaluation.predict import predict_maps
from .figures import comparison_sheet, training_curves


def percent(score: float) -> str:
    """A score in [0, 1] in percent, with two digits after the point; "-" where it is NaN: a class does not occur."""
    return "-" if math.isnan(score) else f"{100 * score:.2f}"


def score_table(scores: dict[str, float], class_names: list[str]) -> str:
    """
    What an evaluation measured as lines of text, the names of `scores` being without `eval_`. With labels: the scores
    of [`~rss_hf.evaluation.metrics.segmentation_scores`], in percent, one line a class, then the means. Without: the
    rewards, in their own units.
    """
    if "mean_iou" in scores:
        names = [*class_names, "mean", "overall"]
        iou = [percent(scores[f"iou_{name}"]) for name in class_names]
        accuracy = [percent(scores[f"accuracy_{name}"]) for name in class_names]
        iou += [percent(scores["mean_iou"]), ""]
        accuracy += [percent(scores["mean_accuracy"]), percent(scores["overall_accuracy"])]
        columns = {"IoU": iou, "accuracy": accuracy}
    else:
        rewards = {name.removeprefix("reward/"): value for name, value in scores.items() if "reward/" in name}
        names = [*rewards, "weighted sum"]
        columns = {"reward": [f"{value:.4f}" for value in [*rewards.values(), scores["reward"]]]}
    return pd.DataFrame(columns, index=names).rename_axis(columns="class" if "IoU" in columns else "").to_string()


@torch.no_grad()
def write_report(trainer: Trainer, data: SegmentationData, metrics: dict[str, float], num_images: int = 6) -> str:
    """
    Writes `comparison.png` (the first `num_images` of the validation split) and `training_curves.png` to the output
    folder of a run.

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
    rows = []
    pairs = zip(keep_encoded(data.validation), trainer.eval_dataset, strict=False)
    for index, (row, example) in enumerate(islice(pairs, num_images)):
        image, reference = open_row(
            row, f"validation row {index}", data.mask_palette, reduce_labels=trainer.eval_dataset.reduce_labels
        )
        pixel_values = example["pixel_values"][None].to(trainer.args.device)
        (prediction,) = predict_maps(model, pixel_values, [(image.height, image.width)])
        rows.append((image, reference, prediction.cpu()))
    comparison_sheet(rows, data.palette, data.class_names, output_dir / "comparison.png")
    training_curves(trainer.state.log_history, output_dir / "training_curves.png")
    scores = {name.removeprefix("eval_"): value for name, value in metrics.items()}
    files = "\n".join(f"{output_dir / name}" for name in ("comparison.png", "training_curves.png", "all_results.json"))
    return f"{score_table(scores, data.class_names)}\n\n{files}"
