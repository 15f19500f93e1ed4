"""Tiny models whose step is exact and fast."""

import torch
from transformers import (
    ConvNextConfig,
    MobileNetV2Config,
    MobileNetV2ForSemanticSegmentation,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

from rss_hf import RSSSegformerConfig, RSSSegformerForSemanticSegmentation


TINY = {"hidden_sizes": (8, 8, 16, 16), "depths": (1, 1, 1, 1), "num_attention_heads": (1, 1, 2, 2)}
TINY |= {"decoder_hidden_size": 16, "classifier_dropout_prob": 0.0, "drop_path_rate": 0.0}


class TinyPolicy(RSSSegformerForSemanticSegmentation):
    """A tiny policy over 3 classes. Batch norm, which ties the images of a batch together, is taken out."""

    def __init__(self, config):
        super().__init__(config)
        self.decode_head.batch_norm = torch.nn.Identity()


def make_tiny_policy():
    """The same tiny policy at each call."""
    torch.manual_seed(0)
    return TinyPolicy(RSSSegformerConfig(num_labels=3, **TINY))


def upernet():
    backbone = ConvNextConfig(
        hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_features=["stage1", "stage2", "stage3", "stage4"]
    )
    return UperNetForSemanticSegmentation(
        UperNetConfig(backbone_config=backbone, hidden_size=16, num_labels=3, use_auxiliary_head=False)
    )


def mobilenet():
    return MobileNetV2ForSemanticSegmentation(MobileNetV2Config(depth_multiplier=0.25, num_labels=3))
