"""The rewards of greedy maps over a whole split, for data without labels."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from ..rewards import RewardBatch, WeightedRewards
from .predict import predict_maps


@torch.no_grad()
def evaluate_rewards(
    model: nn.Module,
    dataloader: Iterable[dict],
    rewards: WeightedRewards,
    num_classes: int,
    accelerator: Accelerator,
    trainer_state: Any = None,
    on_step: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """
    Mean rewards of the most probable maps of a split, over all processes. Each image is counted once.

    Args:
        model (`nn.Module`): its output has `logits` (B, C, h, w). Evaluated in eval mode, and returned to its mode.
        dataloader (`Iterable[dict]`): prepared by `accelerator`; batches hold `pixel_values` (B, 3, H, W) float32 and
            the columns that the rewards read.
        rewards ([`~rss_hf.rewards.WeightedRewards`]): shown maps of H x W pixels.
        num_classes (`int`): C.
        accelerator (`Accelerator`): gathers the rewards.
        trainer_state (*optional*): passed on to the rewards.
        on_step (`Callable[[int], None]`, *optional*): called after each batch with its index, from 0.

    Returns:
        `dict[str, float]`: `reward`, the mean of the weighted sum, and `reward/<name>` of each; NaN where none
        applies.
    """
    values: dict[str, list[torch.Tensor]] = {name: [] for name in ("reward", *(f"reward/{n}" for n in rewards.names))}
    was_training = model.training
    model.eval()
    try:
        for step, inputs in enumerate(dataloader):
            batch = RewardBatch(inputs)
            maps = predict_maps(model, inputs["pixel_values"], [batch.size] * len(inputs["pixel_values"]))
            by_name = rewards(torch.stack(maps)[None], batch, num_classes, trainer_state)
            scores = {f"reward/{name}": score for name, score in by_name.items()} | {"reward": rewards.total(by_name)}
            for name, score in scores.items():
                values[name].append(accelerator.gather_for_metrics(score.nanmean((2, 3))[0]))
            if on_step is not None:
                on_step(step)
    finally:
        model.train(was_training)
    return {name: torch.cat(parts).nanmean().item() for name, parts in values.items()}
