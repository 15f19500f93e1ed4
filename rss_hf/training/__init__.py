"""The two trainers, what they are configured with, and the models they load by name."""

from .model_loading import ignore_index_of, load_image_processor, load_model, load_trained_model
from .rss_config import RSSConfig
from .rss_trainer import RSSTrainer
from .segmentation_config import SegmentationConfig
from .segmentation_trainer import SegmentationTrainer


__all__ = [
    "RSSConfig",
    "RSSTrainer",
    "SegmentationConfig",
    "SegmentationTrainer",
    "ignore_index_of",
    "load_image_processor",
    "load_model",
    "load_trained_model",
]
