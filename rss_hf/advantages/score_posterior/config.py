"""Settings of the estimators that keep the judged maps of each image."""

from dataclasses import dataclass

from ..base import EstimatorConfig, require, require_numbers


@dataclass
class PosteriorConfig:
    """
    Settings of the Gaussian posterior.

    Parameters:
        memory_size (`int`, *optional*, defaults to 24):
            Views of each image whose K maps are kept: (K + 4) memory_size + 4 C bytes for each site of each training
            image, on the device and in each checkpoint; 110 MB for 367 images of 32 x 40 sites and 11 classes with
            K = 4.
        length_scale (`float`, *optional*, defaults to 1):
            Length scale, in sites, at least 1, of the Gaussian covariance between neighbouring sites. Larger values
            extract more from each score and give smoother estimates.
        image_correlation (`float`, *optional*, defaults to 0):
            Covariance shared by all sites of an image, in [0, 1). 0.5 for images of a single object.
        score_noise (`float`, *optional*, defaults to 0.1):
            Variance of a score that a sum over sites does not explain, as a fraction of the expected variance of
            scores; above 0.
    """

    memory_size: int = 24
    length_scale: float = 1.0
    image_correlation: float = 0.0
    score_noise: float = 0.1

    def __post_init__(self):
        require_numbers(self)
        require(self, "memory_size", self.memory_size >= 1, "at least 1")
        require(self, "length_scale", self.length_scale >= 1, "at least 1")
        require(self, "image_correlation", 0 <= self.image_correlation < 1, "at least 0 and below 1")
        require(self, "score_noise", self.score_noise > 0, "above 0")


@dataclass
class ScorePosteriorConfig(PosteriorConfig):
    """
    Settings of [`~rss_hf.advantages.score_posterior.ScorePosterior`]: those of [`PosteriorConfig`] and the following.

    Parameters:
        credit_length_scale (`float`, *optional*, defaults to `length_scale` and `image_correlation`):
            Length scale used when scores are turned into advantages. Below `length_scale` (1 and 4, say) it keeps
            small structures from being averaged away.
        score_range (`float`, *optional*, defaults to 1):
            Reward of a map that is right everywhere minus that of one that is wrong everywhere: 1 for
            `pixel_accuracy`.
        rare_class_exponent (`float`, *optional*, defaults to 0):
            Draws maps from pi(c) / p(c)^rare_class_exponent, p(c) being the mean of pi(c) over the batch.
        rare_class_start (`float`, *optional*, defaults to 0.25): fraction of training from which it does so.
        expected_iou_coef (`float`, *optional*, defaults to 0):
            Weight of the gradient of the batch's expected log(IoU + 0.05), which takes no further reward call.
        expected_iou_start (`float`, *optional*, defaults to 0.5): fraction of training from which it is added.
    """

    credit_length_scale: float | None = None
    score_range: float = 1.0
    rare_class_exponent: float = 0.0
    rare_class_start: float = 0.25
    expected_iou_coef: float = 0.0
    expected_iou_start: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        scale = self.credit_length_scale
        require(self, "credit_length_scale", scale is None or scale > 0, "above 0")
        require(self, "score_range", self.score_range > 0, "above 0")
        require(self, "rare_class_exponent", self.rare_class_exponent >= 0, "at least 0")
        require(self, "rare_class_start", 0 <= self.rare_class_start <= 1, "a fraction of training in [0, 1]")
        require(self, "expected_iou_coef", self.expected_iou_coef >= 0, "at least 0")
        require(self, "expected_iou_start", 0 <= self.expected_iou_start <= 1, "a fraction of training in [0, 1]")


@dataclass
class ControlVariateConfig(EstimatorConfig, PosteriorConfig):
    """
    Settings of [`~rss_hf.advantages.score_posterior.ControlVariate`]: those of
    [`~rss_hf.advantages.EstimatorConfig`] and [`PosteriorConfig`].
    """

    def __post_init__(self):
        EstimatorConfig.__post_init__(self)
        PosteriorConfig.__post_init__(self)
