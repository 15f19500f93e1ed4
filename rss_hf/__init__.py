"""Training semantic segmentation networks from rewards. Importing it registers its model with the Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForSemanticSegmentation

from .configuration_rss_segformer import RSSSegformerConfig
from .modeling_rss_segformer import RSSSegformerForSemanticSegmentation
from .policy import PixelPolicy
from .rewards import (
    batch_log_iou,
    dice,
    mean_accuracy,
    mean_iou,
    mean_iou_union,
    pixel_accuracy,
    pixel_match,
    running_log_iou,
)
from .training import RSSConfig, RSSTrainer, SegmentationConfig, SegmentationTrainer


__version__ = "0.1.0"

AutoConfig.register(RSSSegformerConfig.model_type, RSSSegformerConfig, exist_ok=True)
AutoModel.register(RSSSegformerConfig, RSSSegformerForSemanticSegmentation, exist_ok=True)
AutoModelForSemanticSegmentation.register(RSSSegformerConfig, RSSSegformerForSemanticSegmentation, exist_ok=True)
RSSSegformerConfig.register_for_auto_class()
RSSSegformerForSemanticSegmentation.register_for_auto_class("AutoModelForSemanticSegmentation")

__all__ = [
    "PixelPolicy",
    "RSSConfig",
    "RSSSegformerConfig",
    "RSSSegformerForSemanticSegmentation",
    "RSSTrainer",
    "SegmentationConfig",
    "SegmentationTrainer",
    "batch_log_iou",
    "dice",
    "mean_accuracy",
    "mean_iou",
    "mean_iou_union",
    "pixel_accuracy",
    "pixel_match",
    "running_log_iou",
]
