"""Judged maps are those of all processes."""

import pytest
from helpers.parallel import assert_one_process_is_the_same, train_on_two_processes


VARIANTS = {
    "score_posterior": {
        "advantage_estimator": "score_posterior",
        "estimator": {"expected_iou_coef": 1.0, "length_scale": 2.0, "rare_class_exponent": 1.0},
        "scale_rewards": "none",
        "reward_funcs": ["pixel_accuracy"],
    },
    "control_variate": {
        "advantage_estimator": "control_variate",
        "reward_funcs": ["running_log_iou"],
        "num_iterations": 2,
    },
}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return train_on_two_processes(tmp_path_factory.mktemp("two"), VARIANTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_two_processes_are_one(name, two, tmp_path):
    assert_one_process_is_the_same(two[name], tmp_path, VARIANTS[name])
