"""What a run leaves behind for people: a table of scores, a sheet of predictions, the curves of its training."""

import math
from pathlib import Path

import torch

from ..data import SegmentationData
from ..evaluation.predict import predict_maps
from ..reporting.figures import comparison_sheet, training_curves
from ..training.segmentation_trainer import SegmentationTrainer


def score_table(scores: dict[str, float], class_names: list[str]) -> str:
    """
    The scores in [0, 1] of [`~rss_hf.metrics.segmentation_scores`] as lines of text, in percent: one a class, then the
    means. A class that is absent has none: "-".
    """

    def percent(name: str) -> str:
        return "-" if math.isnan(scores[name]) else f"{100 * scores[name]:.2f}"

    rows = [("class", "IoU", "accuracy")]
    rows += [(name, percent(f"iou_{name}"), percent(f"accuracy_{name}")) for name in class_names]
    rows += [("mean", percent("mean_iou"), percent("mean_accuracy")), ("overall", "", percent("overall_accuracy"))]
    width = max(len(name) for name, _, _ in rows)
    return "\n".join(f"{name:<{width}}  {iou:>6}  {accuracy:>8}" for name, iou, accuracy in rows)


@torch.no_grad()
def write_report(trainer: SegmentationTrainer, data: SegmentationData, metrics: dict, num_images: int = 6) -> str:
    """
    Writes `comparison.png` (the first `num_images` of the validation split) and `training_curves.png` to the output
    folder of a run.

    Args:
        trainer (`SegmentationTrainer`): after training.
        data (`SegmentationData`): what it was trained on.
        metrics (`dict[str, float]`): what `trainer.evaluate()` returned.
        num_images (`int`, *optional*, defaults to 6): rows of the sheet.

    Returns:
        `str`: the table of scores and where everything is.
    """
    output_dir = Path(trainer.args.output_dir)
    model = trainer.accelerator.unwrap_model(trainer.model).eval()
    rows = []
    for row, example in zip(data.validation, trainer.eval_dataset, strict=False):
        if len(rows) == num_images:
            break
        pixel_values = example["pixel_values"][None].to(trainer.args.device)
        (prediction,) = predict_maps(model, pixel_values, [example["labels"].shape])
        rows.append((row["image"].convert("RGB"), example["labels"].numpy(), prediction.cpu().numpy()))
    comparison_sheet(rows, data.palette, data.class_names, output_dir / "comparison.png")
    training_curves(trainer.state.log_history, output_dir / "training_curves.png")
    scores = {name.removeprefix("eval_"): value for name, value in metrics.items()}
    files = "\n".join(f"{output_dir / name}" for name in ("comparison.png", "training_curves.png", "all_results.json"))
    return f"{score_table(scores, data.class_names)}\n\n{files}"
