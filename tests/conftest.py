import sys

import pytest
import torch
from helpers.models import TINY, make_tiny_policy
from transformers import SegformerConfig


torch.set_num_threads(1)  # the models are too small to share between threads


@pytest.fixture(autouse=True)
def seed():
    """Each test's random numbers are its own, whichever tests ran before."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_judge_of_another_test():
    """Tests write a `judge.py` of their own, and import it from the current folder."""
    yield
    sys.modules.pop("judge", None)


@pytest.fixture
def tiny_config():
    """Fields of a SegFormer of a few thousand parameters with nothing random in its forward pass."""
    return TINY


@pytest.fixture
def new_policy():
    """A function that makes the same tiny policy at each call."""
    return make_tiny_policy


@pytest.fixture
def plain_config():
    return SegformerConfig(num_labels=3, **TINY)
