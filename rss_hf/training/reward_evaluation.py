"""The part of the Trainer that judges maps outside of training steps: rewards of a split, what they need of data."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from ..data import to_images
from ..evaluation import RewardScores, evaluate_rewards, has_labels
from ..rewards import RewardBatch, RewardContext, WeightedRewards
from .trainer_data import lacks_masks, name_views, need_masks, require_masks


logger = logging.getLogger(__name__)


class RewardEvaluationMixin:
    """
    Evaluation by reward for a [`~rss_hf.training.SegmentationTrainer`], to be inherited before it. It has `rewards`
    ([`~rss_hf.rewards.WeightedRewards`]), `eval_reward_funcs` and `calls` ([`RewardCalls`]).
    """

    def scores(self, dataloader: DataLoader, on_batch: Callable[[dict], None] | None = None) -> dict[str, float]:
        """[`SegmentationTrainer`]'s, where there are labels, and those of [`~rss_hf.evaluation.RewardScores`]."""
        of_rewards = (self.model_wrapped, self.evaluation_rewards(), self.model.config.num_labels, self.accelerator)
        settings = {"stride": self.args.strides[-1], "seed": self.args.seed, "ignore_index": self.ignore_index}
        settings |= {"temperature": self.args.temperature, "context": self.reward_context()}
        if has_labels(dataloader.dataset):
            rewards = RewardScores(*of_rewards, **settings)
            scores = super().scores(dataloader, rewards.add) | rewards.means()
        else:
            model, *rest = of_rewards
            scores = evaluate_rewards(model, dataloader, *rest, self.on_evaluation_batch, **settings)
        if self.calls.judges:
            self.calls.add(0)
        gap = scores["sampled_reward"] - scores["reward"]
        if gap > 0 and self.progress(self.state.global_step).fraction >= 0.5 and self.is_world_process_zero():
            logger.warning(
                f"The most probable maps, which users get, earn {scores['reward']:.4g}, and drawn maps, which "
                f"training sees, {scores['sampled_reward']:.4g}: the policy may not be sure enough. Set entropy_coef "
                f"to 0, lower temperature, or train on coarser strides than {self.args.strides}."
            )
        return scores

    def reward_context(self, log_metric: Callable[[str, float], None] = lambda name, value: None) -> RewardContext:
        """What rewards may ask for beside maps and columns."""
        id2label, processor = self.model.config.id2label, self.processing_class
        names = [id2label[i] for i in range(self.model.config.num_labels)]
        return RewardContext(names, self.state, log_metric, processor and partial(to_images, processor))

    def evaluation_rewards(self) -> WeightedRewards:
        """Those of evaluation, or those of training, with counts of their own."""
        if self.eval_reward_funcs is not None:
            return WeightedRewards(self.eval_reward_funcs, None, self.args.reward_timeout)
        return WeightedRewards(self.rewards.rewards, self.args.reward_weights, self.args.reward_timeout)

    @torch.no_grad()
    def judge(self, maps: torch.Tensor, inputs: dict[str, Any]) -> dict[str, torch.Tensor]:
        """
        What maps (N, H, W) int64, one of each image of a batch, earn by the rewards of evaluation, by name, and as
        `reward` the weighted sum: (N, 1, 1) or (N, H, W) float32, NaN where none applies.
        """
        batch = RewardBatch(self._prepare_inputs(inputs), self.ignore_index)
        judges = self.evaluation_rewards()
        rewards = judges(maps[None], batch, self.model.config.num_labels, self.reward_context())
        return {name: values[0] for name, values in (rewards | {"reward": judges.total(rewards)}).items()}

    def needs_views(self) -> bool:
        return name_views([*self.rewards.rewards, *self.evaluation_rewards().rewards])

    def check_masks(self) -> None:
        """Raises a ValueError where a built-in reward compares with masks and no row of a data set has one."""
        remedy = "Give rewards that need none as {}, your own as module:function"
        for rewards, data, option in (
            (self.rewards, {"training": self.train_dataset}, "reward_funcs"),
            (self.evaluation_rewards(), self.evaluation_sets(), "eval_reward_funcs"),
        ):
            if names := need_masks(rewards.rewards):
                require_masks(data, f"Built-in rewards ({', '.join(names)}) need", remedy.format(option))
        if lacks_masks(self.train_dataset) and self.is_world_process_zero():
            logger.info("no masks: training by reward alone")
