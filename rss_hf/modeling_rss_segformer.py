"""SegFormer as a policy over pixels. This file travels to the Hub with every checkpoint."""

from transformers import SegformerForSemanticSegmentation
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)
from transformers.utils import logging

from .configuration_rss_segformer import RSSSegformerConfig


logger = logging.get_logger(__name__)


class RSSSegformerForSemanticSegmentation(SegformerForSemanticSegmentation):
    """
    SegFormer's encoder with its all-MLP decode head as the policy head: `logits` (B, C, H/4, W/4) float are the
    unnormalised log-probabilities of the C classes, each pixel's action, in a (B, 3, H, W) image.

    Parameter names are plain SegFormer's. [`~RSSSegformerForSemanticSegmentation.from_pretrained`] therefore takes

    - encoder checkpoints (`nvidia/mit-b0` to `-b5`): the policy head is initialised afresh, which one line of the log
      says;
    - `SegformerForSemanticSegmentation` checkpoints: the same logits, bit for bit;
    - its own.

    `forward(pixel_values, labels=None)` returns a [`~transformers.modeling_outputs.SemanticSegmenterOutput`]. `labels`
    (B, H, W) int64 in [0, C) or 255 (void) give the supervised cross-entropy loss, which the reward-driven trainer
    never asks for.
    """

    config_class = RSSSegformerConfig
    config: RSSSegformerConfig
    _keys_to_ignore_on_load_unexpected = [r"^classifier\."]  # the ImageNet classifier of an encoder checkpoint

    def __init__(self, config: RSSSegformerConfig):
        super().__init__(config)
        # A class saves one Auto entry by itself: that of AutoModelForSemanticSegmentation. This adds the other.
        config.auto_map = {"AutoModel": f"{__name__.rpartition('.')[-1]}.{type(self).__name__}"}

    def _adjust_missing_and_unexpected_keys(self, loading_info):
        head_keys = {key for key in self.state_dict() if key.startswith("decode_head.")}
        if head_keys <= set(loading_info.missing_keys):
            loading_info.missing_keys -= head_keys
            logger.warning("The checkpoint has an encoder only: the policy head (decode_head) is initialised afresh.")
        super()._adjust_missing_and_unexpected_keys(loading_info)


# transformers renames SegFormer's decode head between disk and memory for its own classes only: the same for this.
if (conversion := get_checkpoint_conversion_mapping("SegformerForSemanticSegmentation")) is not None:
    register_checkpoint_conversion_mapping("RSSSegformerForSemanticSegmentation", conversion, overwrite=True)


__all__ = ["RSSSegformerForSemanticSegmentation"]
