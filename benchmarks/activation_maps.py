"""
Scores class activation maps (Zhou et al., 2016) of a network trained by `rivals.py classifier` on the drawn shapes.

    python benchmarks/activation_maps.py MODEL SCORES.json

A pixel is of the class with the largest logit, or background where that is below a threshold. Logits are taken as they
are, or as fractions of the image's largest one of their class, for classes that the classifier finds in the image. Of
both and of 19 thresholds, the one with the highest mean IoU of this very validation split is taken: to the method's
advantage.
"""

import json
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from rss_hf.data import collate, evaluation_examples, load_segmentation_dataset
from rss_hf.evaluation import confusion_matrix, segmentation_scores
from rss_hf.training import load_trained_model


@torch.no_grad()
def main(folder: str, output_file: str):
    data = load_segmentation_dataset("shapes", require_train=False)
    model, processor = load_trained_model(folder)
    confusion = {}
    for batch in DataLoader(evaluation_examples(data.validation, processor), 64, collate_fn=collate):
        coarse = model(pixel_values=batch["pixel_values"]).logits[:, 1:]
        size = batch["pixel_values"].shape[-2:]
        raw = torch.nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=False)
        found = coarse.mean((2, 3)) > 0
        shares = (raw.relu() / raw.amax((2, 3), keepdim=True).clamp(min=1e-6)).where(found[:, :, None, None], 0)
        for kind, maps, thresholds in (
            ("logits", raw, torch.linspace(-3, 6, 19)),
            ("shares", shares, torch.linspace(0.05, 0.95, 19)),
        ):
            value, best = maps.max(1)
            for threshold in thresholds.tolist():
                counts = confusion_matrix((best + 1).where(value > threshold, 0), batch["labels"], 5)
                confusion[kind, threshold] = confusion.get((kind, threshold), 0) + counts
    scores = {key: segmentation_scores(counts, data.class_names) for key, counts in confusion.items()}
    (kind, threshold), best = max(scores.items(), key=lambda item: item[1]["mean_iou"])
    print(f"{kind} above {threshold:.2f}: mean IoU {best['mean_iou']:.4f}")
    Path(output_file).write_text(json.dumps({"kind": kind, "threshold": threshold, "scores": best}))


if __name__ == "__main__":
    main(*sys.argv[1:])
