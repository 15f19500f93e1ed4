"""What a run leaves behind for people: a table of scores, a sheet of predictions, the curves of its training."""

from pathlib import Path

import torch

from .data import SegmentationData
from .evaluation import predict_maps
from .segmentation_trainer import SegmentationTrainer
from .visualization import comparison_sheet, training_curves


def score_table(metrics: dict[str, float], class_names: list[str]) -> str:
    """The scores of `trainer.evaluate()`, `eval_*` in [0, 1], as lines of text in percent: one a class, then means."""
    width = max(len(name) for name in [*class_names, "overall accuracy"])
    rows = [(name, metrics[f"eval_iou_{name}"], metrics[f"eval_accuracy_{name}"]) for name in class_names]
    rows.append(("mean", metrics["eval_mean_iou"], metrics["eval_mean_accuracy"]))
    lines = [f"{'class':<{width}}  {'IoU':>6}  {'accuracy':>8}"]
    lines += [f"{name:<{width}}  {100 * iou:6.2f}  {100 * accuracy:8.2f}" for name, iou, accuracy in rows]
    lines.append(f"{'overall accuracy':<{width}}  {'':6}  {100 * metrics['eval_overall_accuracy']:8.2f}")
    return "\n".join(lines)


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
    files = "\n".join(f"{output_dir / name}" for name in ("comparison.png", "training_curves.png", "all_results.json"))
    return f"{score_table(metrics, data.class_names)}\n\n{files}"
