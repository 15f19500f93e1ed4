"""The Trainer that learns from rewards: batch, model, policy, actions, rewards, advantages, loss."""

import logging
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers.trainer_utils import has_length

from ..advantages.leave_one_out import (
    control_variate,
    couple,
    coupled_difference,
    leave_one_out,
    less_confidence,
    normalize,
    normalize_parts,
    pairwise_spatial_difference,
)
from ..advantages.score_posterior.estimator import ImageCritic
from ..advantages.score_posterior.gaussian import expected_iou_gain
from ..policy.action_grid import ProgressiveScales, action_grid
from ..policy.pixel_policy import PixelPolicy
from ..policy.sampling_noise import StepNoise
from ..rewards.confusion import RunningCounts
from ..rewards.segmentation import RewardSet
from ..training.loss import Experience, action_weights, policy_gradient_loss
from ..training.rollouts import RepeatSampler
from ..training.rss_config import RSSConfig
from ..training.segmentation_trainer import SegmentationTrainer


logger = logging.getLogger(__name__)


class RSSTrainer(SegmentationTrainer):
    """
    Trains a segmentation network from rewards by policy gradient.

    Works with any transformers model that takes `pixel_values` (B, 3, H, W) and whose output has `logits`
    (B, C, h, w). Labels, where there are any, reach the reward functions and nothing else.

    Args:
        model, args, train_dataset, ...: as for [`~transformers.Trainer`]; `args` is an [`RSSConfig`].
        reward_funcs (`list[str | Callable]`, *optional*, defaults to those of `args`):
            Rewards by name, dotted path or as callables, for those that only Python can give.

    Example:

    ```python
    >>> def few_people(predictions, references=None, **columns):
    ...     return -(predictions == 15).float().mean((1, 2))

    >>> trainer = RSSTrainer(model=model, args=RSSConfig("out"), reward_funcs=[few_people], train_dataset=dataset)
    >>> trainer.train()
    ```
    """

    taught_by = "trained from rewards"
    _paper = {"title": "Semantic segmentation with reward", "id": "2505.17905", "year": "2025"}
    _tag_names = ["rss", "reinforcement-learning", "semantic-segmentation"]

    def __init__(self, model, args: RSSConfig, *, reward_funcs: list[str | Callable] | None = None, **kwargs: Any):
        super().__init__(model, args, **kwargs)
        self.reward_set = RewardSet(args.reward_funcs if reward_funcs is None else reward_funcs, args.reward_weights)
        self.scales = ProgressiveScales(args.scales, args.scale_schedule, args.scale_warmup)
        self._noise = StepNoise(args.seed, self.accelerator)
        self._experiences: deque[Experience] = deque(maxlen=args.gradient_accumulation_steps)
        self._sums: dict[str, torch.Tensor] = {}
        self._critic = ImageCritic(args, self.reward_set, self.train_dataset, self.accelerator)

    def training_facts(self) -> dict[str, str]:
        """What the model card says of the rewards, by name."""
        args, rewards = self.args, zip(self.reward_set.names, self.reward_set.weights, strict=True)
        return {
            "rewarded": " + ".join(f"{weight:g} `{name}`" for name, weight in rewards),
            "reward queries": f"{self._reward_queries():,} maps judged",
            "maps drawn an image (K)": str(args.num_samples),
            "strides of the action grid": ", ".join(map(str, args.scales)),
            "credit, normalised over": f"{args.credit}, {args.advantage_normalization}",
            "entropy bonus": f"{args.entropy_coef:g}",
            "confidence taken off": f"{args.confidence_coef:g}",
            "weight of the IoU that the critic expects": f"{args.expected_iou_coef:g}",
            "exploration of rare classes": f"{args.exploration_coef:g}",
        }

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """From a batch to a loss of shape (): see `_experience` and [`~rss_hf.loss.policy_gradient_loss`]."""
        outputs = model(pixel_values=inputs["pixel_values"])
        progress = self.state.global_step / max(self.state.max_steps, 1)
        if anew := self._draws_anew():
            experience = self._experience(outputs.logits, inputs, progress)
            if self.args.num_iterations > 1:
                self._experiences.append(experience)
        else:
            self._experiences.rotate(-1)
            experience = self._experiences[-1]
        policy = PixelPolicy(outputs.logits, tuple(experience.log_probs.shape[-2:]))
        entropy = policy.entropy()
        entropy_coef = self.args.entropy_coef * (1 - progress) / math.sqrt(math.prod(policy.grid))
        loss = policy_gradient_loss(policy, experience, None if anew else self.args.eta)
        loss = loss - entropy_coef * entropy.mean()
        self._add("entropy", entropy)
        return (loss, outputs) if return_outputs else loss

    def _draws_anew(self) -> bool:
        """Whether this step draws samples, or goes on with those of the last step that did."""
        begins = self.state.global_step % self.args.num_iterations == 0
        return begins or len(self._experiences) < self._experiences.maxlen

    @torch.no_grad()
    def _experience(self, logits: torch.Tensor, inputs: dict[str, Any], progress: float) -> Experience:
        """Policy, actions, rewards, advantages: what the samples of a batch teach."""
        references = inputs.get("labels")
        size = tuple(inputs["pixel_values"].shape[-2:] if references is None else references.shape[-2:])
        columns = {name: column for name, column in inputs.items() if name not in ("labels", "image_positions")}
        stride = self.scales.stride(progress, self.state.log_history, logits.shape[1])
        policy = PixelPolicy(logits, action_grid(size, stride))
        explores = self.args.exploration_coef and progress >= 0.25
        actions, resampled = self._sample(
            policy.favour_rare(self.args.exploration_coef, self._sum_processes) if explores else policy
        )
        rewards = self.reward_set(actions, policy.num_actions, size, references, trainer_state=self.state, **columns)
        total = self.reward_set.total(rewards)
        if self.args.credit == "critic":
            gain, taught, visible = self._critic.gain(policy, actions, total, inputs, self.state)
            self._record(rewards, total, taught, policy.grid, stride)
            if progress >= 0.5 and self.args.expected_iou_coef:
                iou_gain = expected_iou_gain(policy.probs, gain, visible, self._sum_processes)
                taught = taught + self.args.expected_iou_coef * iou_gain
            return Experience(policy.log_probs, taught / taught[:, 0].numel(), actions, credit=None, by_site=False)
        surprise = total
        if self.args.confidence_coef:
            probs = policy.log_prob(actions).exp()
            surprise = less_confidence(total, probs, self.args.confidence_coef)
            self._add("confidence", probs)
        credit = partial(self._credit, applies=~total.isnan(), actions=actions, resampled=resampled)
        raw_advantages = credit(surprise)
        over = self.args.advantage_normalization
        if self.args.credit == "control_variate":
            values = self._critic.values(policy, actions, total, inputs, self.state)
            unexpected, expected = control_variate(surprise, actions, policy.probs, values)
            noise, power = unexpected.square().mean(), raw_advantages.square().mean()
            self._add("explained_variance", (1 - noise / power).where(power > 0, torch.nan))
            raw_advantages = unexpected
            advantages, expected = normalize_parts(
                unexpected, expected, total, policy.probs, over, self._sum_processes
            )
            weights = action_weights(actions, advantages, policy.num_actions)
            weights = weights + policy.probs * expected / expected[:, 0].numel()
        else:
            advantages = normalize(raw_advantages, total, over, self._sum_processes)
            weights = action_weights(actions, advantages, policy.num_actions)
        self._record(rewards, total, raw_advantages, policy.grid, stride)
        return Experience(policy.log_probs, weights, actions, credit, by_site=total.shape[2:] != (1, 1))

    def _sample(self, policy: PixelPolicy) -> tuple[torch.Tensor, torch.Tensor | None]:
        """K action maps (K, B, h, w), and for coupled pairs the sites drawn anew."""
        shapes = [(self.args.num_samples, *policy.grid)]
        if self.args.credit == "coupled":
            shapes.append((self.args.num_samples // 2, *(min(4, sites) for sites in policy.grid)))
        noise = self._noise.draw(self.state.global_step, len(policy.log_probs), *shapes)
        if self.args.credit != "coupled":
            return policy.inverse_cdf(*noise), None
        coupled, resampled = couple(*noise)
        return policy.inverse_cdf(coupled), resampled

    def _credit(
        self, rewards: torch.Tensor, applies: torch.Tensor, actions: torch.Tensor, resampled: torch.Tensor | None
    ) -> torch.Tensor:
        """Raw advantages of `rewards`, which count where `applies` (bool, same shape)."""
        rewards = rewards.where(applies, torch.nan)
        if self.args.credit in ("leave_one_out", "control_variate"):
            return leave_one_out(rewards)
        if self.args.credit == "psd":
            return pairwise_spatial_difference(rewards, actions)
        if self.args.credit == "coupled":
            return coupled_difference(rewards, resampled)
        return rewards.nan_to_num(0)

    def _sum_processes(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.accelerator.reduce(tensor, reduction="sum")

    def _record(self, rewards, total, advantages, grid, stride):
        """Adds this micro-batch's samples to the sums behind the logged means. Stays on the device."""
        for name, values in rewards.items():
            by_sample = values.nanmean((2, 3))  # (K, B)
            self._add(f"reward/{name}/mean", by_sample)
            self._add(f"reward/{name}/std", sample_std(by_sample))
        by_sample = total.nanmean((2, 3))
        deviation = sample_std(by_sample)
        self._add("reward", by_sample)
        self._add("reward_std", deviation)
        self._add("advantage_std", advantages.square().mean().sqrt())
        equal = by_sample.amax(0) == by_sample.amin(0)  # exact, where a deviation would round
        self._add("frac_zero_std", equal.float().where(~deviation.isnan(), torch.nan))
        self._add("grid", torch.full_like(deviation, math.prod(grid)))
        self._add("stride", torch.full_like(deviation, stride))

    def _add(self, name: str, values: torch.Tensor):
        moments = torch.stack([values.detach().nansum(), (~values.isnan()).sum()])
        self._sums[name] = self._sums[name] + moments if name in self._sums else moments

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Also saves what rewards remember of earlier batches, for a resumed run to go on with."""
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            self.reward_set.counts.save(output_dir)
            self._critic.save(output_dir)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        self.reward_set.counts = RunningCounts() if checkpoint is None else RunningCounts.load(checkpoint)
        self._critic.load(checkpoint)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the means since the last log to the Trainer's training logs; `docs/metrics.md` defines each."""
        if self._sums and "loss" in logs:
            sums, counts = self._sum_processes(torch.stack(list(self._sums.values()))).T.tolist()
            logs |= {
                name: total / count if count else math.nan
                for name, total, count in zip(self._sums, sums, counts, strict=True)
            }
            self._sums.clear()
            # absent where no step drew samples
            if logs.get("frac_zero_std") == 1 and self.is_world_process_zero():
                logger.warning(
                    f"Up to step {self.state.global_step} all samples of each image had the same reward: nothing to "
                    f"learn from. Maps that differ more get rewards that differ: put coarser strides before "
                    f"scales={self.args.scales} (PSR), or raise num_samples={self.args.num_samples}."
                )
        if "loss" in logs or "train_runtime" in logs:  # the latter once, when training has ended
            logs["reward_queries"] = self._reward_queries()
        super().log(logs, start_time)

    def _reward_queries(self) -> int:
        draws = math.ceil(self.state.global_step / self.args.num_iterations)
        return draws * self.args.num_samples * self.get_total_train_batch_size(self.args)

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


def sample_std(by_sample: torch.Tensor) -> torch.Tensor:
    """Standard deviation (B,) over the K samples of (K, B); NaN, without torch's warning, where K is 1."""
    return by_sample.std(0) if len(by_sample) > 1 else torch.full_like(by_sample[0], torch.nan)
