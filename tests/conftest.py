import pytest
import torch
from transformers import SegformerConfig

from rss_hf import RSSSegformerConfig, RSSSegformerForSemanticSegmentation


torch.set_num_threads(1)  # the models are too small to share between threads

TINY = {"hidden_sizes": (8, 8, 16, 16), "depths": (1, 1, 1, 1), "num_attention_heads": (1, 1, 2, 2)}
TINY |= {"decoder_hidden_size": 16, "classifier_dropout_prob": 0.0, "drop_path_rate": 0.0}


@pytest.fixture(autouse=True)
def seed():
    """Each test's random numbers are its own, whichever tests ran before."""
    torch.manual_seed(0)


@pytest.fixture
def tiny_config():
    """Fields of a SegFormer of a few thousand parameters with nothing random in its forward pass."""
    return TINY


class TinyPolicy(RSSSegformerForSemanticSegmentation):
    """A tiny policy over 3 classes. Batch norm, which ties the images of a batch together, is taken out."""

    def __init__(self, config):
        super().__init__(config)
        self.decode_head.batch_norm = torch.nn.Identity()


def make_tiny_policy():
    torch.manual_seed(0)
    return TinyPolicy(RSSSegformerConfig(num_labels=3, **TINY))


@pytest.fixture
def new_policy():
    """A function that makes the same tiny policy at each call."""
    return make_tiny_policy


@pytest.fixture
def plain_config():
    return SegformerConfig(num_labels=3, **TINY)
