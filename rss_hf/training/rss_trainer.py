"""The Trainer that learns from rewards: batch, model, policy, actions, rewards, advantages, loss."""

import copy
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import Sampler
from transformers import TrainerState
from transformers.trainer_utils import TrainOutput, has_length

from ..advantages import ESTIMATORS, SCALE_REWARDS, EstimatorContext, Progress
from ..evaluation import has_labels
from ..policy import PixelPolicy, ProgressiveStrides, SeededNoise, action_grid
from ..rewards import RewardBatch, RewardError, WeightedRewards
from .loss import kl_divergence, policy_gradient_loss
from .reward_budget import RewardCalls, ShowCalls
from .reward_evaluation import RewardEvaluationMixin
from .rollouts import RepeatSampler, Rollout, Rollouts
from .rss_config import RSSConfig
from .running_metrics import RunningMetrics
from .segmentation_trainer import SegmentationTrainer
from .trial import try_rewards


MAX_UNANSWERED = 10  # draws in a row without any answer, after which a run ends

logger = logging.getLogger(__name__)


class RSSTrainer(RewardEvaluationMixin, SegmentationTrainer):
    """
    Trains a segmentation network from rewards by policy gradient.

    Works with any transformers model that takes `pixel_values` (B, 3, H, W) and whose output has `logits`
    (B, C, h, w). Labels, where there are any, reach the reward functions and nothing else.

    Args:
        model, args, train_dataset, ...: as for [`SegmentationTrainer`]; `args` is an [`RSSConfig`].
        reward_funcs, eval_reward_funcs (`str`, `Callable` or a list of them, *optional*, defaults to those of `args`):
            Rewards by name, dotted path or as callables, for those that only Python can give.

    `evaluate` adds the rewards of the most probable maps, `eval_reward` and `eval_reward/<name>`, and those of drawn
    maps, `eval_sampled_reward` and `eval_sampled_reward/<name>`. Evaluation data needs no labels.

    Example:

    ```python
    >>> def little_background(predictions, references=None, **columns):
    ...     return (predictions != 0).float().mean((1, 2))

    >>> trainer = RSSTrainer("nvidia/mit-b0", reward_funcs=little_background, train_dataset=rows)
    >>> trainer.train()
    ```
    """

    config_class = RSSConfig
    training_signal = "trained from rewards"
    _paper = {"title": "Semantic segmentation with reward", "id": "2505.17905", "year": "2025"}
    _tag_names = ["rss", "reinforcement-learning", "semantic-segmentation"]

    def __init__(
        self,
        model: str | nn.Module | None = None,
        args: RSSConfig | None = None,
        *,
        reward_funcs: str | Callable | list[str | Callable] | None = None,
        eval_reward_funcs: str | Callable | list[str | Callable] | None = None,
        **kwargs: Any,
    ):
        args = self.default_args(model) if args is None else args
        if not isinstance(args, RSSConfig):
            raise TypeError(f"args must be an RSSConfig, got a {type(args).__name__}.")
        reward_funcs = args.reward_funcs if reward_funcs is None else reward_funcs
        self.rewards = WeightedRewards(reward_funcs, args.reward_weights, args.reward_timeout)
        self.eval_reward_funcs = args.eval_reward_funcs if eval_reward_funcs is None else eval_reward_funcs
        super().__init__(model, args, **kwargs)
        args = self.args
        judging = [*self.rewards.rewards, *self.evaluation_rewards().rewards]
        folder = Path(args.feedback_dir or Path(args.output_dir, "feedback"))
        self.calls = RewardCalls(judging, self.accelerator, args.max_reward_calls, folder)
        self.add_callback(ShowCalls(self.calls, self.callback_handler.callbacks))
        self.strides = ProgressiveStrides(args.strides, args.stride_warmup)
        self.noise = SeededNoise(args.seed, self.accelerator)
        self.rollouts = Rollouts(args.num_iterations, args.gradient_accumulation_steps)
        self.metrics = RunningMetrics()
        self.ref_model = copy.deepcopy(self.model).eval().requires_grad_(False) if args.beta else None
        context = EstimatorContext(
            reward_weights=dict(zip(self.rewards.names, self.rewards.weights, strict=True)),
            num_samples=args.num_samples,
            num_images=len(self.train_dataset) if has_length(self.train_dataset) else None,
            scale_rewards=args.scale_rewards,
            accelerator=self.accelerator,
            log=self.metrics.log,
        )
        self.estimator = ESTIMATORS[args.advantage_estimator](args.estimator_config(), context)
        if args.metric_for_best_model == "mean_iou" and self.eval_dataset is not None:
            args.metric_for_best_model = "mean_iou" if has_labels(self.eval_dataset) else "reward"

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """From a batch to a loss of shape (): the whole way of the data."""
        outputs = model(pixel_values=inputs["pixel_values"])
        batch = RewardBatch(inputs, self.ignore_index)
        policy = PixelPolicy(outputs.logits, self.action_grid(batch), self.args.temperature)
        rollout = self.rollouts.current(self.state.global_step) or self.rollouts.store(self.roll_out(policy, batch))
        bonus = self.entropy_bonus(policy, rollout.is_answered)
        loss = policy_gradient_loss(policy, rollout) - bonus
        if self.ref_model is not None:
            loss = loss + self.kl_penalty(policy, inputs["pixel_values"], rollout.is_answered)
        return (loss, outputs) if return_outputs else loss

    def training_step(self, model, inputs, num_items_in_batch=None):
        """As the Trainer's, but without any answer no weight is moved, not by decay or momentum either."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients and not self.rollouts.have_answers:
            self.optimizer.zero_grad()  # to None: the optimizer leaves such parameters out
        if self.rollouts.unanswered == MAX_UNANSWERED:
            self.stop_signal.stop(
                RewardError(
                    f"The rewards {self.rewards.names} gave no answer (NaN or None) in {MAX_UNANSWERED} draws of "
                    f"{self.args.num_samples} maps an image, up to step {self.state.global_step + 1}. No step was "
                    "taken on them, and a checkpoint is kept: mend the judge and resume."
                )
            )
        will_draw = self.rollouts.first_step(self.state.global_step + 1) == self.state.global_step + 1
        if will_draw and self.accelerator.sync_gradients and not self.calls.affords(self.maps_a_draw()):
            logger.warning(
                f"{self.calls.total} of max_reward_calls={self.args.max_reward_calls} are made: training ends."
            )
            self.control.should_training_stop = True
            self.control.should_save = self.args.save_strategy != "no"
        return loss

    def maps_a_draw(self) -> int:
        """Maps that one draw has scored, on all processes."""
        return self.args.num_samples * self.get_total_train_batch_size(self.args)

    def is_finished(self, checkpoint: str, state: TrainerState) -> bool:
        self.load_state(checkpoint)
        return super().is_finished(checkpoint, state) or not self.calls.affords(self.maps_a_draw())

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """As [`SegmentationTrainer`]'s. Each reward is tried on two images first."""
        if not self.calls.affords(self.maps_a_draw()):
            raise ValueError(
                f"max_reward_calls={self.args.max_reward_calls} is less than the {self.maps_a_draw()} maps of a draw: "
                "raise it, or lower num_samples or per_device_train_batch_size."
            )
        if self.train_dataset is not None:
            try_rewards(
                self.rewards,
                self.train_dataset,
                self.data_collator,
                stride=self.args.strides[0],
                num_classes=self.model.config.num_labels,
                ignore_index=self.ignore_index,
                device=self.args.device,
                context=self.reward_context(),
            )
        return super().train(*args, **kwargs)

    @torch.no_grad()
    def roll_out(self, policy: PixelPolicy, batch: RewardBatch) -> Rollout:
        """Actions, rewards and advantages: what samples of the policy earn."""
        step, progress = self.state.global_step, self.progress(self.state.global_step)
        with torch.autocast(policy.log_probs.device.type, enabled=False):
            noise = self.noise.draw(step, len(policy.log_probs), self.args.num_samples, policy.grid)
            actions = self.estimator.sample(policy, noise, progress)
            rewards = self.rewards(actions, batch, policy.num_actions, self.reward_context(self.metrics.log_value))
            total = self.rewards.total(rewards)
            columns = batch.columns(self.estimator.required_columns)
            weights = self.estimator.weights(policy, actions, total, columns, progress)
            # A judge outside the device was waited for already; built-in rewards are not waited for.
            has_answers = self.rewards.are_built_in or self._any_process(bool((~total.isnan()).any()))
        self.calls.add(len(noise) * len(policy.log_probs))
        self.metrics.log_rewards(rewards, total)
        self.metrics.log("grid", total.new_full((), policy.num_sites))
        self.metrics.log("stride", total.new_full((), self.strides.stride(progress.fraction)))
        return Rollout(policy.log_probs.detach(), actions, total, weights, self.estimator, has_answers)

    def action_grid(self, batch: RewardBatch) -> tuple[int, int]:
        """The grid (h, w) of the step: that on which its samples are or were drawn."""
        first_step = self.rollouts.first_step(self.state.global_step)
        stride = self.strides.stride(self.progress(first_step).fraction)
        return action_grid(batch.size, stride)

    def entropy_bonus(self, policy: PixelPolicy, is_answered: torch.Tensor) -> torch.Tensor:
        """
        The mean entropy of a site times its coefficient, which falls linearly to 0 over training. Images of which no
        map was answered, `is_answered` (B,) bool says, add nothing.
        """
        entropy = policy.entropy()
        self.metrics.log("entropy", entropy)
        coef = self.args.entropy_coef * (1 - self.progress(self.state.global_step).fraction)
        return coef / math.sqrt(policy.num_sites) * (entropy * is_answered[:, None, None]).mean()

    def kl_penalty(self, policy: PixelPolicy, pixel_values: torch.Tensor, is_answered: torch.Tensor) -> torch.Tensor:
        """`beta` times the mean divergence of a site from the network that training began with."""
        with torch.no_grad():
            logits = self.ref_model(pixel_values=pixel_values).logits
        reference = PixelPolicy(logits, policy.grid, self.args.temperature)
        divergence = kl_divergence(policy, reference)
        self.metrics.log("kl", divergence)
        return self.args.beta / math.sqrt(policy.num_sites) * (divergence * is_answered[:, None, None]).mean()

    def progress(self, step: int) -> Progress:
        """How far training is at `step`."""
        return Progress(step / max(self.state.max_steps, 1), self.state.epoch)

    @staticmethod
    def needs_positions(args: RSSConfig) -> bool:
        return "image_positions" in ESTIMATORS[args.advantage_estimator].required_columns

    def card_rows(self) -> dict[str, str]:
        args, rewards = self.args, zip(self.rewards.names, self.rewards.weights, strict=True)
        return {
            "rewarded": " + ".join(f"{weight:g} `{name}`" for name, weight in rewards),
            "reward calls": f"{self.calls.total:,} maps judged",
            "maps drawn an image (K)": str(args.num_samples),
            "strides of the action grid": ", ".join(map(str, args.strides)),
            "advantage estimator": args.advantage_estimator,
            **self.estimator.card_rows(),
            "advantages divided by": SCALE_REWARDS[args.scale_rewards],
            **({"temperature of drawn maps": f"{args.temperature:g}"} if args.temperature != 1 else {}),
            "entropy bonus": f"{args.entropy_coef:g}",
            **({"KL to the initial network (beta)": f"{args.beta:g}"} if args.beta else {}),
        }

    def refuse_without_effect(self, args: RSSConfig, model: Any, kwargs: dict[str, Any]) -> None:
        super().refuse_without_effect(args, model, kwargs)
        if kwargs.get("compute_loss_func") is not None:
            raise ValueError("compute_loss_func has no effect: the loss is that of the policy gradient. Leave it out.")

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the means since the last log to the Trainer's training logs; `docs/metrics.md` defines each."""
        if "loss" in logs:
            logs |= self.metrics.flush(self.accelerator)
            if math.isnan(logs.get("reward", 0)) and self.is_world_process_zero():
                logger.warning(
                    f"Up to step {self.state.global_step} no map got a reward (NaN or None): nothing was learned."
                )
            # absent where no step drew samples
            if logs.get("frac_zero_std") == 1 and self.is_world_process_zero():
                logger.warning(
                    f"Up to step {self.state.global_step} all samples of each image had the same reward: nothing to "
                    f"learn from. Maps that differ more get rewards that differ: put coarser strides before "
                    f"strides={self.args.strides} (PSR), or raise num_samples={self.args.num_samples}."
                )
        if "loss" in logs or "train_runtime" in logs:  # the latter once, when training has ended
            logs["reward_calls"] = self.calls.total
        super().log(logs, start_time)

    def steps_a_batch(self) -> int:
        return self.args.num_iterations

    def run_settings(self) -> dict[str, Any]:
        names = ("num_samples", "strides", "stride_warmup", "advantage_estimator", "advantage_estimator_kwargs")
        names += ("scale_rewards", "temperature", "entropy_coef", "beta", "num_iterations")
        rewards = dict(zip(self.rewards.names, self.rewards.weights, strict=True))
        return super().run_settings() | {name: getattr(self.args, name) for name in names} | {"rewards": rewards}

    def load_state(self, checkpoint: str | None) -> None:
        for name, part in self._stateful().items():
            path = None if checkpoint is None else Path(checkpoint, f"{name}_state.safetensors")
            part.load_state_dict(load_file(path) if path is not None and path.is_file() else {})

    def _stateful(self) -> dict[str, Any]:
        """What has a state that checkpoints keep, by the beginning of its file's name."""
        return {"reward": self.rewards.counts, "estimator": self.estimator, "calls": self.calls}

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Also saves the states of [`~RSSTrainer.load_state`]."""
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            for name, part in self._stateful().items():
                if state := part.state_dict():
                    save_file(state, Path(output_dir, f"{name}_state.safetensors"))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        self.load_state(checkpoint)

    def _get_train_sampler(self, train_dataset=None) -> Sampler | None:
        """The Trainer's, or with `num_iterations` above 1 one that repeats the rows of a whole step as often."""
        rows = self.train_dataset if train_dataset is None else train_dataset
        if self.args.num_iterations == 1:
            return super()._get_train_sampler(train_dataset)
        if not has_length(rows):
            raise ValueError("num_iterations above 1 repeats batches, which a streamed data set cannot; use 1.")
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        chunk_size = self.get_total_train_batch_size(self.args)
        return RepeatSampler(len(rows), chunk_size, self.args.num_iterations, seed)
