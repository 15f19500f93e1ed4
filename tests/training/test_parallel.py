"""Two processes with 4 images each take the step of one process with 8."""

import pytest
from helpers.parallel import assert_one_process_is_the_same, train_on_two_processes


VARIANTS = {
    "leave_one_out": {"reward_funcs": ["mean_iou"]},
    "pairwise_spatial_difference": {
        "advantage_estimator": "pairwise_spatial_difference",
        "reward_funcs": ["mean_iou"],
    },
    "two_iterations": {"reward_funcs": ["batch_log_iou"], "num_iterations": 2},
    "running_counts": {"reward_funcs": ["running_log_iou"]},
}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return train_on_two_processes(tmp_path_factory.mktemp("two"), VARIANTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_two_processes_are_one(name, two, tmp_path):
    assert_one_process_is_the_same(two[name], tmp_path, VARIANTS[name])
