"""
Trains on a judge of one's own, on built-in data: `python examples/own_judge.py`. One CPU core: a minute.

The judge is the F2 score of a single map, by which a missed pixel costs as much as four false ones. Nothing in the
package knows it.
"""

import argparse

import torch

from rss_hf import RSSConfig, RSSTrainer
from rss_hf.data import load_segmentation_dataset
from rss_hf.training import load_image_processor, load_model


def f2(predictions: torch.Tensor, references: torch.Tensor, class_names: list[str]) -> torch.Tensor:
    """
    F2 score of each map, mean over the classes in its reference: (N,) float32 in [0, 1], NaN without a labelled pixel.

    Args:
        predictions (`torch.Tensor` of shape `(N, H, W)`): int64 in [0, C).
        references (`torch.Tensor` of shape `(N, H, W)`): int64 in [0, C), or 255 where unlabelled.
        class_names (`list[str]`): of the C classes.
    """
    classes = torch.arange(len(class_names), device=predictions.device).view(-1, 1, 1, 1)
    found, true = (predictions == classes) & (references != 255), references == classes  # (C, N, H, W)
    hits, area = (found & true).sum((2, 3)), true.sum((2, 3))
    score = 5 * hits / (4 * area + found.sum((2, 3)))
    return score.where(area > 0, torch.nan).nanmean(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max_steps", type=int, default=100)
    parser.add_argument("--output_dir", default="outputs/own_judge")
    options = parser.parse_args()

    data = load_segmentation_dataset("shapes")
    model = load_model(None, dict(enumerate(data.class_names)))  # SegFormer-B0 from scratch
    args = RSSConfig(options.output_dir, max_steps=options.max_steps, num_samples=16, report_to="none")
    trainer = RSSTrainer(
        model,
        args,
        reward_funcs=f2,
        train_dataset=data.train,
        eval_dataset=data.validation,
        processing_class=load_image_processor(None, size=(64, 64)),
    )
    before = trainer.evaluate()["eval_reward/f2"]  # of the most probable map of each image, in [0, 1]
    trainer.train()
    after = trainer.evaluate()["eval_reward/f2"]
    print(f"mean F2 of the validation images: {before:.3f} before, {after:.3f} after")  # noqa: T201


if __name__ == "__main__":
    main()
