"""Two processes with 4 images each take the step of one process with 8."""

import pytest
from helpers.parallel import assert_two_processes_are_one


@pytest.mark.parametrize(
    "options",
    [
        ("leave_one_out", "batch", "1", "mean_iou", "{}"),
        ("pairwise_spatial_difference", "batch", "1", "mean_iou", "{}"),
        ("leave_one_out", "batch", "2", "batch_log_iou", "{}"),
        ("leave_one_out", "batch", "1", "running_log_iou", "{}"),
    ],
    ids="-".join,
)
def test_two_processes_are_one(tmp_path, options):
    assert_two_processes_are_one(tmp_path, *options)
