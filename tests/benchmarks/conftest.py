import sys
from pathlib import Path

import pytest


sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))


@pytest.fixture
def new_record():
    """A function that makes a record as older ones are, without its configuration."""

    def record(method, seed, score, learning_rate=1e-3, **more):
        by_reward = method != "cross-entropy"
        record = {"data": "shapes", "method": method, "seed": seed, "learning_rate": learning_rate}
        record |= {"reward_funcs": ["mean_iou"] if by_reward else None, "num_samples": 4 if by_reward else None}
        record |= {"strides": [4] if by_reward else None, "steps": 2, "reward_calls": 1000 if by_reward else 0}
        scores = dict.fromkeys(("mean_iou", "mean_accuracy", "overall_accuracy"), score)
        record |= {"scores": scores, "curve": [[1, score / 2], [2, score]], "commit": "abc1234"}
        return record | more

    return record
