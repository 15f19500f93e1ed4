"""From rewards to advantages. `ESTIMATORS` is the one place where a variant's name stands outside its own file."""

from .base import AdvantageEstimator, EstimatorConfig, EstimatorContext, Progress, action_weights
from .confidence import confidence_penalty
from .leave_one_out import LeaveOneOut, Reinforce, leave_one_out
from .normalization import SCALE_REWARDS, normalize
from .score_posterior import ControlVariate, ScorePosterior
from .spatial_difference import PairwiseSpatialDifference, pairwise_spatial_difference


ESTIMATORS: dict[str, type[AdvantageEstimator]] = {
    "leave_one_out": LeaveOneOut,
    "pairwise_spatial_difference": PairwiseSpatialDifference,
    "reinforce": Reinforce,
    "score_posterior": ScorePosterior,
    "control_variate": ControlVariate,
}

__all__ = [
    "ESTIMATORS",
    "SCALE_REWARDS",
    "AdvantageEstimator",
    "EstimatorConfig",
    "EstimatorContext",
    "Progress",
    "action_weights",
    "confidence_penalty",
    "leave_one_out",
    "normalize",
    "pairwise_spatial_difference",
]
