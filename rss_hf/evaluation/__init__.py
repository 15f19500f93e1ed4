"""Predictions and scores: maps at the original size, one confusion matrix for a split, rewards without labels."""

from .metrics import confusion_matrix, segmentation_scores
from .predict import evaluate_model, has_labels, predict_maps, predict_maps_and_entropies
from .reward_evaluation import RewardScores, evaluate_rewards


__all__ = [
    "RewardScores",
    "confusion_matrix",
    "evaluate_model",
    "evaluate_rewards",
    "has_labels",
    "predict_maps",
    "predict_maps_and_entropies",
    "segmentation_scores",
]
