import math

from rss_hf.reporting.report import score_table


def test_scores_are_a_table_in_percent():
    scores = {"iou_cat": 0.5, "accuracy_cat": 0.75, "iou_polar bear": math.nan, "accuracy_polar bear": 0.12345}
    scores |= {"mean_iou": 0.5, "mean_accuracy": 0.4367, "overall_accuracy": 1.0}
    assert score_table(scores, ["cat", "polar bear"]).splitlines() == [
        "class         IoU accuracy",
        "cat         50.00    75.00",
        "polar bear      -    12.35",
        "mean        50.00    43.67",
        "overall             100.00",
    ]


def test_rewards_are_a_table_in_their_own_units():
    scores = {"reward/dice": 0.25, "reward/stars": 12.0, "reward": 3.0625, "runtime": 2.0}
    assert score_table(scores, ["cat"]).splitlines() == [
        "               reward",
        "dice           0.2500",
        "stars         12.0000",
        "weighted sum   3.0625",
    ]
