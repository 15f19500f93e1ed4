import math

import pytest

from rss_hf.policy.action_grid import ProgressiveScales, action_grid


def test_the_grid_covers_the_image():
    assert action_grid((128, 160), 4) == (32, 40)
    assert action_grid((13, 10), 4) == (4, 3)


def test_progress_shares_the_warm_up_evenly():
    scales = ProgressiveScales([16, 8, 4], "progress", warmup=0.4)
    strides = [scales.stride(progress, [], 5) for progress in (0, 0.19, 0.21, 0.39, 0.4, 1)]
    assert strides == [16, 16, 8, 8, 4, 4]
    assert ProgressiveScales([16, 8, 4], warmup=0).stride(0, [], 5) == 4
    assert ProgressiveScales([4]).stride(0, [], 5) == 4


def test_policy_moves_one_stride_for_each_sharp_log_and_never_back():
    scales, history = ProgressiveScales([16, 8, 4], "policy"), []
    half = 0.5 * math.log(5)
    for entropy, expected in [(1.5, 16), (half + 0.01, 16), (half - 0.01, 8), (1.5, 8), (0.1, 4), (1.6, 4)]:
        history.append({"stride": scales.stride(0.5, history, 5), "entropy": entropy, "step": len(history)})
        history.append({"eval_mean_iou": 0.5})
        assert scales.stride(0.5, history, 5) == expected


@pytest.mark.parametrize("scales", [[], [4, 8], [8, 8], [4, 0]])
def test_strides_must_descend(scales):
    with pytest.raises(ValueError, match="coarse to fine"):
        ProgressiveScales(scales)


def test_bad_schedule_and_warm_up():
    with pytest.raises(ValueError, match="'steps'"):
        ProgressiveScales([4], "steps")
    with pytest.raises(ValueError, match="got 1.5"):
        ProgressiveScales([4], warmup=1.5)
