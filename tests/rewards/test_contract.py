"""What a reward is given, what it may return, and what is refused."""

import math

import pytest
import torch
from helpers.scenes import SIZE, C, batch_of, scene

from rss_hf.policy import upsample_actions
from rss_hf.rewards import RewardBatch, WeightedRewards, contract


def count_of_class_one(predictions, references=None, **columns):
    return (predictions == 1).float().sum((1, 2))


def test_a_black_box_gets_maps_columns_and_state():
    actions, references = scene()
    seen = {}

    def reward(predictions, references=None, **columns):
        seen.update(columns, predictions=predictions, references=references)
        return columns["bonus"] + torch.tensor([len(name) for name in columns["id"]])

    columns = {"bonus": torch.tensor([10.0, 20, 30]), "id": ["a", "bb", "ccc"], "image_positions": torch.zeros(3, 2)}
    rewards = WeightedRewards([reward])(actions, batch_of(references, **columns), C, "state")["reward"]
    assert torch.equal(rewards[..., 0, 0], torch.tensor([[11.0, 22, 33]] * 3))
    assert torch.equal(seen["predictions"].view(3, 3, *SIZE), upsample_actions(actions, SIZE))
    assert torch.equal(seen["references"].view(3, 3, *SIZE)[1], references)
    assert seen["trainer_state"] == "state" and "image_positions" not in seen


@pytest.mark.parametrize("name", ["size", "actions", "num_actions", "num_classes", "batch"])
def test_a_column_may_have_any_name(name):
    """Of whatever the package calls its own arguments."""
    actions, references = scene()

    def reward(predictions, references=None, **columns):
        return torch.tensor(columns[name])

    rewards = WeightedRewards([reward])(actions, batch_of(references, **{name: [1.0, 2.0, 3.0]}), C)["reward"]
    assert rewards[:, :, 0, 0].tolist() == [[1, 2, 3]] * 3


def test_the_labels_are_among_no_columns():
    _, references = scene()
    batch = batch_of(references, weight=[1, 2, 3])
    assert batch.size == SIZE and batch.columns(["weight"]) == {"weight": [1, 2, 3]}
    with pytest.raises(ValueError, match=r"lacks \['labels'\]; it has \['pixel_values', 'weight'\]"):
        batch.columns(["labels"])


@pytest.mark.parametrize(
    "labels, message",
    [
        (torch.zeros(3, 1, 13, 10, dtype=torch.int64), r"\(3, H, W\), got torch.int64 of shape \(3, 1, 13, 10\)"),
        (torch.zeros(2, 13, 10, dtype=torch.int64), r"\(3, H, W\), got torch.int64 of shape \(2, 13, 10\)"),
        (torch.zeros(3, 13, 10), "integer class ids, got torch.float32"),
        ([torch.zeros(13, 10)] * 3, "got <class 'list'>"),
    ],
)
def test_labels_that_are_no_maps_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        RewardBatch({"pixel_values": torch.zeros(3, 3, *SIZE), "labels": labels})


@pytest.mark.parametrize("level", ["image", "pixel"])
def test_many_maps_are_judged_in_several_calls(level, monkeypatch):
    actions, references = scene(num_samples=5)
    calls = []

    def agreement(predictions, references=None, weight=None, **columns):
        calls.append(len(predictions))
        equal = (predictions == references).float() * weight[:, None, None]
        return equal.mean((1, 2)) if level == "image" else equal

    def judged():
        weight = torch.tensor([1.0, 2, 3])
        return WeightedRewards([agreement])(actions, batch_of(references, weight=weight), C)["agreement"]

    at_once = judged()
    monkeypatch.setattr(contract, "PIXELS_PER_CALL", 2 * math.prod((3, *SIZE)))
    assert torch.equal(judged(), at_once) and calls == [15, 6, 6, 3]


def test_references_are_none_without_masks():
    actions, _ = scene()
    rewards = WeightedRewards([count_of_class_one])(actions, batch_of(), C)["count_of_class_one"]
    torch.testing.assert_close(rewards[..., 0, 0], (upsample_actions(actions, SIZE) == 1).float().sum((2, 3)))
    with pytest.raises(RuntimeError, match="'mean_iou'.*no.*mask|'mean_iou'.*reference mask"):
        WeightedRewards(["mean_iou"])(actions, batch_of(), C)


BAD = {
    "shape": (
        lambda predictions, **_: torch.zeros(2, 7),
        r"returned shape \(2, 7\); expected .*\(9,\).*\(9, 13, 10\)",
    ),
    "type": (lambda predictions, **_: [0.0] * 9, "returned a list; expected a tensor"),
    "infinite": (lambda predictions, **_: torch.full((9,), torch.inf), "returned an infinite value"),
    "raises": (lambda predictions, **_: 1 / 0, "raised ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("fault", list(BAD))
def test_a_bad_reward_is_named(fault):
    reward, message = BAD[fault]
    reward.__name__ = f"judge_{fault}"
    actions, references = scene()
    with pytest.raises(RuntimeError, match=f"'judge_{fault}' {message}"):
        WeightedRewards([reward])(actions, batch_of(references), C)
