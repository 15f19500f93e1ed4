"""Hyper-parameters of reward-driven training."""

from dataclasses import dataclass, field

from ..policy.action_grid import ProgressiveScales
from ..training.segmentation_config import SegmentationConfig


CREDITS = ("leave_one_out", "control_variate", "critic", "psd", "coupled", "none")
MEMORIZING = ("control_variate", "critic")  # credits that remember what was judged
NORMALIZATIONS = ("batch", "group", "mean", "none")


@dataclass
class RSSConfig(SegmentationConfig):
    r"""
    Configuration of [`RSSTrainer`]: every argument of [`SegmentationConfig`], and so of
    [`~transformers.TrainingArguments`], and the following.

    > Parameters that control the reward

    reward_funcs (`list[str]`, *optional*, defaults to `["batch_log_iou"]`):
        Rewards by name (`batch_log_iou`, `running_log_iou`, `mean_iou`, `mean_iou_union`, `mean_accuracy`,
        `pixel_accuracy`, `dice`, `pixel_match`) or by dotted path, `package.module:function`.
    reward_weights (`list[float]`, *optional*, defaults to 1 each):
        One weight for each reward; the reward trained on is the weighted sum of those that apply.

    > Parameters that control the policy gradient

    num_samples (`int`, *optional*, defaults to 128):
        K, the action maps drawn and scored for each image and step.
    num_iterations (`int`, *optional*, defaults to 1):
        Steps in a row on each batch and its samples: only the first of them draws and scores any. 1 for
        `credit="critic"`.
    eta (`float`, *optional*, defaults to 0.3):
        How far the policy may move in the steps of a batch, where `num_iterations` is above 1: the log-ratio of a map
        is regressed on eta sqrt(N) times its advantage, for a pixel-level reward that of a site on eta times its own.
    scales (`list[int]`, *optional*, defaults to `[4]`):
        PSR: strides in pixels of the action grid, coarse to fine.
    scale_schedule (`str`, *optional*, defaults to `"progress"`):
        When PSR moves to the next stride: with training's `"progress"`, or with the `"policy"`'s own sharpness.
    scale_warmup (`float`, *optional*, defaults to 0.2):
        Fraction of training that `"progress"` spends on the strides before the last.
    credit (`str`, *optional*, defaults to `"leave_one_out"`):
        From rewards to advantages: `"leave_one_out"`, `"critic"` (what each site is worth is inferred from all
        the maps of an image that were judged, see [`~rss_hf.critic.gaussian_critic`]), `"control_variate"`
        (leave-one-out of what that critic did not expect, and what it did exactly: unbiased, see
        [`~rss_hf.credit.control_variate`]), `"psd"` (pairs of samples, credited where they differ),
        `"coupled"` (pairs that share all but random blocks) or `"none"` (the reward itself: plain REINFORCE, the only
        one that can do with a single sample).
    critic_visits (`int`, *optional*, defaults to 24):
        V, the visits to an image that either critic remembers: (K + 4) V + 4 C bytes for each site of each training
        image, on the device and in each checkpoint; 110 MB for 367 images of 32 x 40 sites and 11 classes with K = 4.
    expected_iou_coef (`float`, *optional*, defaults to 0):
        For `credit="critic"`: weight, in the second half of training, of the batch's mean log(IoU) as it is to be
        expected from what the critic knows; in the first half it knows too little. It asks for no further map. See
        [`~rss_hf.critic.expected_iou_gain`].
    critic_reach (`list[float]`, *optional*, defaults to `[1.0]`):
        For either critic: how far sites share a doubt, in sites. Of two numbers the first holds until a quarter of
        training, the second from the middle on, and in between it goes from one to the other. Further, scores say
        more of each site, and what they get wrong is smoother.
    credit_reach (`float`, *optional*, defaults to `critic_reach`):
        For `credit="critic"`: how far what scores say of a site is credited to its neighbours, in sites. Below
        `critic_reach`, areas, and what is wrong in them, no longer drown details.
    critic_shared (`float`, *optional*, defaults to 0):
        For either critic: the part of a doubt that all sites of an image share, at least 0 and below 1. Where an image
        is of one object, half of it tells much of what further maps will score.
    exploration_coef (`float`, *optional*, defaults to 0):
        For `credit="critic"`, which does not ask that maps be the policy's own: from a quarter of training on they are
        drawn from pi(c) / p(c)^exploration_coef, normalised at each site, p(c) being the batch's mean of pi(c). With
        1, rare classes are drawn where they are likelier than elsewhere, and their sites get scores that tell of them.
    advantage_normalization (`str`, *optional*, defaults to `"batch"`):
        What advantages are divided by: their deviation over the `"batch"` of all processes (SyncAN), that over the
        samples of each `"group"` (an image, or a site for pixel-level rewards; the better one where a pretrained
        encoder is trained too), the `"mean"` reward of the group, or `"none"`. See [`~rss_hf.credit.normalize`].
    entropy_coef (`float`, *optional*, defaults to 0.3):
        Weight of the entropy bonus at the start of training; it falls linearly to 0 at the end. It is divided by the
        square root of the number of sites, since the signal of a normalised image-level reward falls so with the grid.
    confidence_coef (`float`, *optional*, defaults to 0):
        Weight of the policy's confidence in a map, the mean probability of its actions, which is taken off the map's
        reward: what is left is what the policy did not expect. It is in the units of the reward; 1.3 for
        `pixel_accuracy`. See [`~rss_hf.credit.less_confidence`]. For `credit="critic"` it is what a map that is right
        everywhere gains over one that is wrong everywhere: 1 for `pixel_accuracy`.

    > Parameters whose default differs from [`~transformers.TrainingArguments`]

    `remove_unused_columns=False` (rewards read the other columns), `logging_nan_inf_filter=False` (it would wait for
    the device at every step) and `logging_steps=10`.
    """

    remove_unused_columns: bool = field(default=False, metadata={"help": "Keep the columns that only rewards read."})
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "Filtering synchronises at every step."})
    logging_steps: float = field(default=10, metadata={"help": "Log every so many steps."})

    reward_funcs: list[str] = field(
        default_factory=lambda: ["batch_log_iou"],
        metadata={"help": "Reward names or paths package.module:function."},
    )
    reward_weights: list[float] | None = field(default=None, metadata={"help": "One weight for each reward."})
    num_samples: int = field(default=128, metadata={"help": "K, action maps drawn for each image."})
    num_iterations: int = field(default=1, metadata={"help": "Steps in a row on each batch and its samples."})
    eta: float = field(default=0.3, metadata={"help": "How far to move on one batch for num_iterations above 1."})
    scales: list[int] = field(
        default_factory=lambda: [4], metadata={"help": "PSR: strides of the action grid in pixels, coarse to fine."}
    )
    scale_schedule: str = field(
        default="progress", metadata={"help": "When PSR moves on.", "choices": list(ProgressiveScales.SCHEDULES)}
    )
    scale_warmup: float = field(
        default=0.2, metadata={"help": "Fraction of training before the last stride, for the schedule 'progress'."}
    )
    credit: str = field(
        default="leave_one_out", metadata={"help": "From rewards to advantages.", "choices": list(CREDITS)}
    )
    critic_visits: int = field(default=24, metadata={"help": "Visits to an image that the critic remembers."})
    expected_iou_coef: float = field(
        default=0.0, metadata={"help": "Weight of the IoU that the critic expects, in the second half."}
    )
    critic_reach: list[float] = field(
        default_factory=lambda: [1.0],
        metadata={"help": "How far sites share a doubt, in sites; of two numbers, early and from the middle on."},
    )
    critic_shared: float = field(default=0.0, metadata={"help": "The part of a doubt that a whole image shares."})
    credit_reach: float | None = field(
        default=None, metadata={"help": "How far credit is spread to neighbours, in sites; if not given critic_reach."}
    )
    exploration_coef: float = field(
        default=0.0, metadata={"help": "Draw maps from pi / p(c)^this, from a quarter of training on; critic only."}
    )
    advantage_normalization: str = field(
        default="batch", metadata={"help": "What advantages are normalised over.", "choices": list(NORMALIZATIONS)}
    )
    entropy_coef: float = field(
        default=0.3, metadata={"help": "Weight of the entropy bonus at the start, for a grid of one site."}
    )
    confidence_coef: float = field(
        default=0.0, metadata={"help": "Weight of the policy's mean probability of a map, taken off its reward."}
    )

    def __post_init__(self):
        super().__post_init__()
        ProgressiveScales(self.scales, self.scale_schedule, self.scale_warmup)
        if self.num_samples < (1 if self.credit == "none" else 2):
            raise ValueError(
                f"num_samples must be at least 2, for samples are compared, or 1 with credit='none'; got "
                f"{self.num_samples} with credit={self.credit!r}."
            )
        if self.num_iterations < 1 or self.eta <= 0:
            raise ValueError(
                "num_iterations must be at least 1 and eta above 0, got "
                f"num_iterations={self.num_iterations}, eta={self.eta}."
            )
        if self.save_strategy == "steps" and self.save_steps % self.num_iterations:
            raise ValueError(
                f"save_steps={self.save_steps} must be a multiple of num_iterations={self.num_iterations}: samples "
                "are not kept in a checkpoint, and a run resumed half-way through them would take another course."
            )
        for name, value, choices in (
            ("credit", self.credit, CREDITS),
            ("advantage_normalization", self.advantage_normalization, NORMALIZATIONS),
        ):
            if value not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {value!r}.")
        if self.credit in MEMORIZING:
            self._check_critic()
        for name, default, credits in (
            ("critic_reach", [1.0], MEMORIZING),
            ("critic_shared", 0, MEMORIZING),
            ("credit_reach", None, ("critic",)),
            ("expected_iou_coef", 0, ("critic",)),
            ("exploration_coef", 0, ("critic",)),
        ):
            if (value := getattr(self, name)) != default and self.credit not in credits:
                needed = " or ".join(map(repr, credits))
                raise ValueError(f"{name}={value} is the critic's: it needs credit={needed}, not {self.credit!r}.")
        if self.confidence_coef < 0:
            raise ValueError(f"confidence_coef must be at least 0, got {self.confidence_coef}.")
        if self.confidence_coef and self.advantage_normalization == "mean":
            raise ValueError(
                "advantage_normalization='mean' divides by the mean of a reward that is at least 0, and does not go "
                f"with confidence_coef={self.confidence_coef}; use 'batch'."
            )
        if self.num_samples == 1 and self.advantage_normalization == "group":
            raise ValueError(
                "advantage_normalization='group' divides by the deviation over an image's samples, and "
                "num_samples=1 leaves its sign alone; use 'batch' or 'none'."
            )
        if self.credit == "coupled" and self.num_samples % 2:
            raise ValueError(f"credit='coupled' draws samples in pairs: num_samples={self.num_samples} must be even.")

    def _check_critic(self):
        needs = {
            "scales": (len(self.scales) == 1, "a single stride"),
            "critic_visits": (self.critic_visits >= 1, "at least 1"),
            "critic_reach": (
                len(self.critic_reach) in (1, 2) and min(self.critic_reach) >= 1,
                "one number or two, at least 1",
            ),
            "critic_shared": (0 <= self.critic_shared < 1, "at least 0 and below 1"),
            "credit_reach": (self.credit_reach is None or self.credit_reach > 0, "above 0"),
            "expected_iou_coef": (self.expected_iou_coef >= 0, "at least 0"),
            "exploration_coef": (self.exploration_coef >= 0, "at least 0"),
        }
        if self.credit == "critic":
            needs |= {
                "num_iterations": (self.num_iterations == 1, "1"),
                "advantage_normalization": (self.advantage_normalization == "none", "'none'"),
                "confidence_coef": (self.confidence_coef > 0, "above 0, the reward of a map that is right everywhere"),
            }
        elif self.advantage_normalization == "mean":
            needs["advantage_normalization"] = (False, "'batch', 'group' or 'none'")
        for name, (holds, remedy) in needs.items():
            if not holds:
                raise ValueError(f"credit={self.credit!r} needs {name} to be {remedy}, got {getattr(self, name)!r}.")
