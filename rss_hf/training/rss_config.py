"""Hyper-parameters of reward-driven training."""

from dataclasses import dataclass, field
from typing import Any, get_type_hints

from ..advantages import ESTIMATORS, SCALE_REWARDS
from ..policy import ProgressiveStrides
from .segmentation_config import SegmentationConfig
from .setting_checks import check_kind


@dataclass
class RSSConfig(SegmentationConfig):
    r"""
    Configuration of [`RSSTrainer`]: every argument of [`SegmentationConfig`], and so of
    [`~transformers.TrainingArguments`], and the following.

    Parameters:
        reward_funcs (`str` or `list[str]`, *optional*, defaults to `["batch_log_iou"]`):
            Rewards by name (`batch_log_iou`, `running_log_iou`, `mean_iou`, `mean_iou_union`, `mean_accuracy`,
            `pixel_accuracy`, `dice`, `pixel_match`) or by dotted path, `package.module:function`.
        reward_weights (`list[float]`, *optional*, defaults to 1 each):
            One weight for each reward; the weighted sum of those that apply is trained on.
        eval_reward_funcs (`str` or `list[str]`, *optional*, defaults to `reward_funcs` with their weights):
            Rewards of evaluation, 1 the weight of each.
        reward_timeout (`float`, *optional*):
            Seconds that a call of a reward may take before the run ends with an error. Without it a reward may hang
            for ever; the log says so after 30 seconds and each minute then.
        max_reward_calls (`int`, *optional*):
            Ends training, as `max_steps` does, before a draw that could exceed it. Counted are the maps that are
            scored, or, with a [`~rss_hf.judges.Judge`], those that judges are asked about.
        feedback_dir (`str`, *optional*, defaults to `feedback` in `output_dir`):
            Folder that keeps the answers of judges. Runs that share it ask about no map twice.
        num_samples (`int`, *optional*, defaults to 128):
            K, action maps drawn and scored for each image and step.
        strides (`list[int]`, *optional*, defaults to `[4]`):
            PSR: strides of the action grid in pixels, coarse to fine.
        stride_warmup (`float`, *optional*, defaults to 0.2):
            Fraction of training spent on the strides before the last.
        advantage_estimator (`str`, *optional*, defaults to `"leave_one_out"`):
            From rewards to advantages, a key of `rss_hf.advantages.ESTIMATORS`, where each is documented.
        advantage_estimator_kwargs (`dict`, *optional*):
            Settings of the estimator, see its `config_class`: `{"confidence_penalty_coef": 1.3}`, say.
        scale_rewards (`str`, *optional*, defaults to `"batch"`):
            What advantages are divided by: their deviation over the `"batch"` of all processes (SyncAN), over each
            `"group"` (samples of an image, or of a site for pixel-level rewards), the `"mean"` reward of the group, or
            `"none"`. `"group"` for a pretrained encoder that is trained too. See [`~rss_hf.advantages.normalize`].
        temperature (`float`, *optional*, defaults to 1.0):
            What logits are divided by for the policy that maps are drawn from and that is trained. Below 1 drawn maps
            are more like the most probable one. For a trained network that is tuned for a metric.
        entropy_coef (`float`, *optional*, defaults to 0.3):
            Weight of the entropy bonus at the start of training; it falls linearly to 0 at the end. It is divided by
            the square root of the number of sites, since the signal of a normalised image-level reward falls so.
        beta (`float`, *optional*, defaults to 0):
            Weight of the KL divergence from the network that training begins with, divided as the entropy bonus is.
            Its weights are kept a second time. For a trained network that is tuned for a metric.
        num_iterations (`int`, *optional*, defaults to 1):
            Steps in a row on each batch and its samples; only the first of them draws and scores any.

    Defaults that differ from [`~transformers.TrainingArguments`]: `learning_rate=1e-3`, which reward needs, and
    `remove_unused_columns=False`, since rewards read the other columns.
    """

    OWN_DICT_FIELDS = [*SegmentationConfig.OWN_DICT_FIELDS, "advantage_estimator_kwargs"]
    _VALID_DICT_FIELDS = [*SegmentationConfig._VALID_DICT_FIELDS, "advantage_estimator_kwargs"]

    learning_rate: float = field(default=1e-3, metadata={"help": "Rate of the optimizer."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Drop the columns that only rewards read."})

    reward_funcs: list[str] = field(
        default_factory=lambda: ["batch_log_iou"],
        metadata={"help": "Reward names or paths package.module:function."},
    )
    reward_weights: list[float] | None = field(default=None, metadata={"help": "One weight for each reward."})
    eval_reward_funcs: list[str] | None = field(
        default=None, metadata={"help": "Rewards of evaluation, if others than those of training."}
    )
    reward_timeout: float | None = field(
        default=None, metadata={"help": "Seconds that a reward may take before the run ends with an error."}
    )
    max_reward_calls: int | None = field(default=None, metadata={"help": "Maps to have scored at most."})
    feedback_dir: str | None = field(
        default=None, metadata={"help": "Folder of the judges' answers. If not given: feedback in output_dir."}
    )
    num_samples: int = field(default=128, metadata={"help": "K, action maps drawn for each image."})
    strides: list[int] = field(
        default_factory=lambda: [4], metadata={"help": "PSR: strides of the action grid in pixels, coarse to fine."}
    )
    stride_warmup: float = field(default=0.2, metadata={"help": "Fraction of training before the last stride."})
    advantage_estimator: str = field(
        default="leave_one_out", metadata={"help": "From rewards to advantages.", "choices": list(ESTIMATORS)}
    )
    advantage_estimator_kwargs: dict | str | None = field(
        default=None, metadata={"help": "Settings of the estimator, as JSON."}
    )
    scale_rewards: str = field(
        default="batch", metadata={"help": "What advantages are divided by.", "choices": list(SCALE_REWARDS)}
    )
    temperature: float = field(default=1.0, metadata={"help": "Of the policy that maps are drawn from."})
    entropy_coef: float = field(default=0.3, metadata={"help": "Weight of the entropy bonus at the start."})
    beta: float = field(default=0.0, metadata={"help": "Weight of the KL divergence from the initial network."})
    num_iterations: int = field(default=1, metadata={"help": "Steps in a row on each batch and its samples."})

    def __post_init__(self):
        for name in ("reward_funcs", "eval_reward_funcs"):
            if isinstance(getattr(self, name), str):
                setattr(self, name, [getattr(self, name)])
        super().__post_init__()
        if not self.reward_funcs:
            raise ValueError("reward_funcs is empty: name one reward at least.")
        for name, choices in (("advantage_estimator", tuple(ESTIMATORS)), ("scale_rewards", tuple(SCALE_REWARDS))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}.")
        ProgressiveStrides(self.strides, self.stride_warmup)
        if self.reward_timeout is not None and self.reward_timeout <= 0:
            raise ValueError(f"reward_timeout must be seconds, above 0; got {self.reward_timeout}.")
        if self.max_reward_calls is not None and self.max_reward_calls < 1:
            raise ValueError(f"max_reward_calls must be at least 1, got {self.max_reward_calls}.")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}.")
        if self.entropy_coef < 0:
            raise ValueError(f"entropy_coef must be at least 0, got {self.entropy_coef}.")
        if self.beta < 0:
            raise ValueError(f"beta must be at least 0, got {self.beta}.")
        if self.num_iterations < 1:
            raise ValueError(f"num_iterations must be at least 1, got {self.num_iterations}.")
        if self.num_iterations > 1 and self.train_sampling_strategy != "random":
            raise ValueError(
                f"train_sampling_strategy={self.train_sampling_strategy!r} does not go with num_iterations="
                f"{self.num_iterations}, which draws batches at random; use 'random'."
            )
        if self.num_iterations > 1 and self.save_strategy == "steps" and self.save_steps % self.num_iterations:
            raise ValueError(
                f"save_steps={self.save_steps} must be a multiple of num_iterations={self.num_iterations}: samples "
                "are not kept in a checkpoint, and a run resumed half-way through them would take another course."
            )
        self.estimator_config()

    def estimator_config(self):
        """The settings of the advantage estimator, checked."""
        kinds = get_type_hints(ESTIMATORS[self.advantage_estimator].config_class)
        for name, value in (self.advantage_estimator_kwargs or {}).items():
            check_kind(f"advantage_estimator_kwargs: {name}", value, kinds.get(name, Any))
        return ESTIMATORS[self.advantage_estimator].make_config(
            self.advantage_estimator_kwargs,
            num_samples=self.num_samples,
            strides=self.strides,
            scale_rewards=self.scale_rewards,
            num_iterations=self.num_iterations,
        )
