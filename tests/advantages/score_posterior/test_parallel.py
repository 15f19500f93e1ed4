"""Judged maps are those of all processes."""

import json

import pytest
from helpers.parallel import assert_two_processes_are_one


RARE_AND_IOU = json.dumps({"expected_iou_coef": 1.0, "length_scale": 2.0, "rare_class_exponent": 1.0})


@pytest.mark.parametrize(
    "options",
    [
        ("score_posterior", "none", "1", "pixel_accuracy", RARE_AND_IOU),
        ("control_variate", "batch", "2", "running_log_iou", "{}"),
    ],
    ids=["score_posterior", "control_variate"],
)
def test_two_processes_are_one(tmp_path, options):
    assert_two_processes_are_one(tmp_path, *options)
