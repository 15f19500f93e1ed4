"""Rewards: what one is and may read, the built-in ones, and a weighted set of them."""

from .answers import LARGEST_REWARD, RewardError
from .batch_iou import DecayedCounts, LogIoUSettings, batch_log_iou, running_log_iou
from .boundary import BoundaryF1, boundary_f1
from .calls import call_rewards, reward_name
from .confusion import ConfusionCounts, ConfusionReward, cell_means, reference_histogram
from .contract import RewardBatch, RewardContext
from .objects import class_area, object_count
from .segmentation import dice, mean_accuracy, mean_iou, mean_iou_union, pixel_accuracy, pixel_match
from .skeleton import cl_dice
from .weighted import REWARDS, WeightedRewards, get_reward


__all__ = [
    "LARGEST_REWARD",
    "REWARDS",
    "BoundaryF1",
    "ConfusionCounts",
    "ConfusionReward",
    "DecayedCounts",
    "LogIoUSettings",
    "RewardBatch",
    "RewardContext",
    "RewardError",
    "WeightedRewards",
    "batch_log_iou",
    "boundary_f1",
    "call_rewards",
    "cell_means",
    "cl_dice",
    "class_area",
    "dice",
    "get_reward",
    "mean_accuracy",
    "mean_iou",
    "mean_iou_union",
    "object_count",
    "pixel_accuracy",
    "pixel_match",
    "reference_histogram",
    "reward_name",
    "running_log_iou",
]
