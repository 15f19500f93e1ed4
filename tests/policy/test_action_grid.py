"""The action grid: its size, its strides over training, and actions as maps of pixels."""

import pytest
import torch

from rss_hf.policy import ProgressiveStrides, action_grid, upsample_actions


def test_the_grid_covers_the_image():
    assert action_grid((128, 160), 4) == (32, 40)
    assert action_grid((13, 10), 4) == (4, 3)


def test_strides_share_the_warm_up_evenly():
    strides = ProgressiveStrides([16, 8, 4], warmup=0.4)
    assert [strides.stride(progress) for progress in (0, 0.19, 0.21, 0.39, 0.4, 1)] == [16, 16, 8, 8, 4, 4]
    assert ProgressiveStrides([16, 8, 4], warmup=0).stride(0) == 4
    assert ProgressiveStrides([4], warmup=0.2).stride(0) == 4


@pytest.mark.parametrize("strides", [[], [4, 8], [8, 8], [4, 0]])
def test_strides_must_descend(strides):
    with pytest.raises(ValueError, match="coarse to fine"):
        ProgressiveStrides(strides, 0.2)


def test_the_warm_up_is_a_fraction():
    with pytest.raises(ValueError, match="got 1.5"):
        ProgressiveStrides([4], warmup=1.5)


def test_upsampling_is_torch_nearest():
    actions, size = torch.randint(9, (2, 3, 5, 3)), (13, 10)
    expected = torch.nn.functional.interpolate(actions.float(), size=size, mode="nearest").long()
    assert torch.equal(upsample_actions(actions, size), expected)


def test_strides_and_warm_up_at_their_ends():
    assert ProgressiveStrides([2, 1], warmup=0.5).stride(1) == 1
    strides = ProgressiveStrides([4, 2, 1], warmup=1.0)
    assert [strides.stride(progress) for progress in (0.49, 0.5, 1.0)] == [4, 2, 1]
