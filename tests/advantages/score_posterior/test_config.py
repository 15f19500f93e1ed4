"""Settings of the posterior at the ends of what is taken."""

import pytest

from rss_hf.advantages.score_posterior.config import ControlVariateConfig, PosteriorConfig, ScorePosteriorConfig


ENDS = [
    (PosteriorConfig, "memory_size", [1], [0]),
    (PosteriorConfig, "length_scale", [1], [0.99]),
    (PosteriorConfig, "image_correlation", [0, 0.99], [-0.01, 1]),
    (PosteriorConfig, "score_noise", [1e-9], [0]),
    (ScorePosteriorConfig, "credit_length_scale", [None, 1e-9], [0]),
    (ScorePosteriorConfig, "score_range", [1e-9], [0]),
    (ScorePosteriorConfig, "rare_class_exponent", [0], [-0.5]),
    (ScorePosteriorConfig, "rare_class_start", [0, 1], [-0.01, 1.01]),
    (ScorePosteriorConfig, "expected_iou_coef", [0], [-0.5]),
    (ScorePosteriorConfig, "expected_iou_start", [0, 1], [-0.01, 1.01]),
    (ControlVariateConfig, "confidence_penalty_coef", [0], [-0.5]),
    (ControlVariateConfig, "memory_size", [1], [0]),
]


@pytest.mark.parametrize("config_class, name, taken, refused", ENDS)
def test_the_ends_of_each_setting(config_class, name, taken, refused):
    for value in taken:
        assert getattr(config_class(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(ValueError, match=f"{name} must be .*, got {value}"):
            config_class(**{name: value})


def test_at_first_nothing_is_added():
    config = ScorePosteriorConfig()
    assert config.expected_iou_coef == config.rare_class_exponent == config.image_correlation == 0
    assert config.credit_length_scale is None
