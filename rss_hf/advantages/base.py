"""What an advantage estimator is: everything that differs between variants of the policy gradient is one object."""

import dataclasses
import difflib
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator

from ..policy import PixelPolicy
from ..rewards import LARGEST_REWARD
from .confidence import confidence_penalty
from .normalization import normalize


SMALLEST_SETTING = 1e-9


@dataclass
class EstimatorConfig:
    """
    Settings of an estimator that compares samples.

    Parameters:
        confidence_penalty_coef (`float`, *optional*, defaults to 0):
            Subtracts this times the policy's mean probability of the sampled actions from each reward. In units of
            the reward; 1.3 for `pixel_accuracy`. See [`~rss_hf.advantages.confidence_penalty`].
        eta (`float`, *optional*, defaults to 0.3):
            For `num_iterations` above 1: the log-ratio of a map is regressed on eta sqrt(N) times its advantage, for a
            pixel-level reward that of a site on eta times its own. See [`~rss_hf.training.loss.policy_gradient_loss`].
    """

    confidence_penalty_coef: float = 0.0
    eta: float = 0.3

    def __post_init__(self):
        require_numbers(self)
        require(self, "confidence_penalty_coef", self.confidence_penalty_coef >= 0, "at least 0")
        require(self, "eta", self.eta > 0, "above 0")


def require(config: Any, name: str, holds: bool, what: str) -> None:
    """Raises a ValueError that names a setting, its value and what it must be, unless that `holds`."""
    if not holds:
        raise ValueError(f"{name} must be {what}, got {getattr(config, name)!r}.")


def require_numbers(config: Any) -> None:
    """
    Raises a ValueError that names a setting declared as a number which is none: `int` takes whole numbers, `float` 0
    and what is between 1e-9 and 1e12 in size, which float32 can compute with; `| None` takes None too.
    """
    for name, declared in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        kinds = typing.get_args(declared) or (declared,)
        if value is None and type(None) in kinds:
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if int in kinds:
            require(config, name, is_number and isinstance(value, int), "a whole number")
        elif float in kinds:
            fits = is_number and (value == 0 or SMALLEST_SETTING <= abs(value) <= LARGEST_REWARD)
            require(config, name, fits, f"0 or a number from {SMALLEST_SETTING:g} to {LARGEST_REWARD:g} in size")


class Progress(NamedTuple):
    """
    Attributes:
        fraction (`float`): of training that is done, in [0, 1].
        epoch (`float`, *optional*): epochs that are done.
    """

    fraction: float
    epoch: float | None = None


@dataclass(frozen=True)
class EstimatorContext:
    """
    The run that an estimator works in.

    Attributes:
        reward_weights (`dict[str, float]`): the weights of the rewards by name; the rewards themselves see labels.
        num_samples (`int`): K.
        num_images (`int`, *optional*): of the training set; None for a stream.
        scale_rewards (`str`): see [`~rss_hf.advantages.normalize`].
        accelerator (`Accelerator`): sums and gathers over processes.
        log (`Callable[[str, torch.Tensor], None]`): adds values to the mean that is logged under a name.
    """

    reward_weights: dict[str, float]
    num_samples: int
    num_images: int | None
    scale_rewards: str
    accelerator: Accelerator
    log: Callable[[str, torch.Tensor], None]

    def sum_processes(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all processes, on each of them."""
        return self.accelerator.reduce(tensor, reduction="sum")


class AdvantageEstimator:
    """
    From a policy, its samples and their rewards to the weight of every action at every site.

    A variant overrides [`~AdvantageEstimator.advantages`], and the other methods where it must: what maps are drawn
    from, how weights are made, what state is kept.

    Attributes:
        config_class (`type`): the dataclass of its settings, which validates itself.
        required_columns (`tuple[str, ...]`): columns of the batch that `weights` is given.
        min_samples (`int`): the least K.

    Args:
        config (`config_class`): its settings.
        context ([`EstimatorContext`]): the run.
    """

    config_class: type = EstimatorConfig
    required_columns: tuple[str, ...] = ()
    min_samples = 2

    def __init__(self, config: Any, context: EstimatorContext):
        self.config, self.context = config, context

    @classmethod
    def make_config(
        cls,
        kwargs: dict[str, Any] | None,
        *,
        num_samples: int,
        strides: list[int],
        scale_rewards: str,
        num_iterations: int,
    ) -> Any:
        """
        The settings in `kwargs`, checked against those of the run.

        Raises:
            ValueError: if a name is unknown, or a value is not possible; it names the value and the remedy.
        """
        kwargs = {} if kwargs is None else kwargs
        if not isinstance(kwargs, dict):
            raise ValueError(f"advantage_estimator_kwargs must be a dictionary of settings, got {kwargs!r}.")
        names = [field.name for field in dataclasses.fields(cls.config_class)]
        for name in kwargs:
            if name not in names:
                nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
                hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
                raise ValueError(
                    f"advantage_estimator_kwargs: {cls.__name__} has no setting {name!r}, only {names}.{hint}"
                )
        config = cls.config_class(**kwargs)
        if num_samples < cls.min_samples:
            raise ValueError(f"num_samples must be at least {cls.min_samples} for {cls.__name__}, got {num_samples}.")
        cls.check(config, num_samples, strides, scale_rewards, num_iterations)
        return config

    @classmethod
    def check(cls, config: Any, num_samples: int, strides: list[int], scale_rewards: str, num_iterations: int) -> None:
        """Raises a ValueError where these settings of the run do not go with the estimator."""
        if config.confidence_penalty_coef and scale_rewards == "mean":
            raise ValueError(
                "scale_rewards='mean' divides by the mean of a reward that is at least 0, and does not go with "
                f"confidence_penalty_coef={config.confidence_penalty_coef}; use 'batch'."
            )

    def sample(self, policy: PixelPolicy, noise: torch.Tensor, progress: Progress) -> torch.Tensor:
        """The action maps (K, B, h, w) int64 that uniform `noise` (K, B, h, w) in [0, 1) selects."""
        return policy.inverse_cdf(noise)

    def advantages(self, rewards: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """
        Advantages of rewards, before normalisation. Linear in the rewards, since later steps on the same samples use
        it again on what the policy has moved.

        Args:
            rewards (`torch.Tensor` of shape `(K, B, 1, 1)` or `(K, B, h, w)`): NaN where none applies.
            actions (`torch.Tensor` of shape `(K, B, h, w)`): int64 in [0, C).

        Returns:
            `torch.Tensor`: of the shape of `rewards` or of `actions`, 0 where no reward applies.
        """
        raise NotImplementedError

    def weights(
        self,
        policy: PixelPolicy,
        actions: torch.Tensor,
        rewards: torch.Tensor,
        columns: dict[str, torch.Tensor],
        progress: Progress,
    ) -> torch.Tensor:
        """
        What the policy gradient weighs grad log pi with.

        Args:
            policy ([`~rss_hf.policy.PixelPolicy`]): that of the step.
            actions (`torch.Tensor` of shape `(K, B, h, w)`): int64, its samples.
            rewards (`torch.Tensor` of shape `(K, B, 1, 1)` or `(K, B, h, w)`): NaN where none applies.
            columns (`dict[str, torch.Tensor]`): the `required_columns` of the batch.
            progress ([`Progress`]): of training.

        Returns:
            `torch.Tensor` of shape `(B, C, h, w)`: float32.
        """
        advantages = self.advantages(self.shaped_rewards(policy, actions, rewards), actions)
        self.context.log("advantage_std", advantages.square().mean().sqrt())
        advantages = normalize(advantages, rewards, self.context.scale_rewards, self.context.sum_processes)
        return action_weights(actions, advantages, policy.num_actions)

    def shaped_rewards(self, policy: PixelPolicy, actions: torch.Tensor, rewards: torch.Tensor) -> torch.Tensor:
        """The rewards less the confidence penalty, of the same shape."""
        if not self.config.confidence_penalty_coef:
            return rewards
        probs = policy.log_prob(actions).exp()
        self.context.log("confidence", probs)
        return confidence_penalty(rewards, probs, self.config.confidence_penalty_coef)

    def card_rows(self) -> dict[str, str]:
        """What the model card says of the settings that differ from their defaults, by name."""
        return {
            field.name: f"{value:g}" if isinstance(value, float) else str(value)
            for field in dataclasses.fields(self.config)
            if (value := getattr(self.config, field.name)) != field.default
        }

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Tensors that a checkpoint keeps for a resumed run."""
        return {}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Goes on from what [`~AdvantageEstimator.state_dict`] gave; from an empty one, at the start."""


def action_weights(actions: torch.Tensor, advantages: torch.Tensor, num_actions: int) -> torch.Tensor:
    """
    The weight of every action at every site, W[b, c, p] = 1/(KBN) sum_k A_k[b, p] 1[a_k[b, p] = c].

    Args:
        actions (`torch.Tensor` of shape `(K, B, h, w)`): int64 in [0, C).
        advantages (`torch.Tensor` of shape `(K, B, h, w)` or `(K, B, 1, 1)`): float.
        num_actions (`int`): C.

    Returns:
        `torch.Tensor` of shape `(B, C, h, w)`, in the dtype of the advantages.
    """
    _, batch_size, h, w = actions.shape
    per_site, earned = (part.expand(actions.shape).permute(1, 2, 3, 0) for part in (actions, advantages))
    weights = advantages.new_zeros(batch_size, h, w, num_actions)
    return weights.scatter_add_(3, per_site, earned).permute(0, 3, 1, 2) / actions.numel()
