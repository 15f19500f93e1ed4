"""The table of rewards, finding them, and their weighted sum."""

import functools
import sys
import threading

import pytest
import torch
from helpers.scenes import SIZE, C, batch_of, scene
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from rss_hf.policy import upsample_actions
from rss_hf.rewards import REWARDS, RewardBatch, WeightedRewards, get_reward


def judge(predictions, references=None, scale=1.0, **columns):
    return (predictions == 1).float().mean((1, 2)) * scale


class Judge:
    def __call__(self, predictions, references=None, **columns):
        return judge(predictions)

    def method(self, predictions, references=None, **columns):
        return judge(predictions)


class Network(torch.nn.Module):
    def forward(self, predictions, references=None, **columns):
        return judge(predictions)


def renamed(reward, name):
    reward.__name__ = name
    return reward


@pytest.mark.parametrize(
    "rewards, scales",
    [
        (judge, {"judge": 1}),
        ([judge], {"judge": 1}),
        ((judge, Judge()), {"judge": 1, "Judge": 1}),
        (Judge().method, {"method": 1}),
        (Network(), {"Network": 1}),
        (lambda predictions, **_: judge(predictions), {"<lambda>": 1}),
        (functools.partial(judge, scale=2.0), {"judge": 2}),
        (functools.partial(functools.partial(judge), scale=2.0), {"judge": 2}),
        (functools.partial(Judge()), {"Judge": 1}),
        ([judge, renamed(functools.partial(judge, scale=2.0), "double")], {"judge": 1, "double": 2}),
    ],
)
def test_callables_of_any_kind_and_the_names_they_are_logged_under(rewards, scales):
    actions, references = scene()
    got = WeightedRewards(rewards)(actions, batch_of(references), C)
    fraction = judge(upsample_actions(actions, SIZE).flatten(0, 1)).view(3, 3, 1, 1)
    assert list(got) == list(scales)
    for name, scale in scales.items():
        torch.testing.assert_close(got[name], scale * fraction)


@pytest.mark.parametrize("one", ["dice", "rss_hf.rewards:dice", REWARDS["dice"], ["dice"], ("dice",)])
def test_one_reward_is_a_list_of_one(one):
    assert WeightedRewards(one).rewards == [REWARDS["dice"]] and WeightedRewards(one).weights == [1]


@pytest.mark.parametrize(
    "rewards, message",
    [
        (["dice", "dice"], "distinct names.*got .'dice', 'dice'.*`__name__`"),
        ([lambda predictions, **_: 0, lambda predictions, **_: 1], "distinct names.*<lambda>.*by `def`"),
        ([judge, functools.partial(judge, scale=2.0)], "distinct names"),
        ([Judge(), Judge()], "distinct names"),
        ([], "reward_funcs is empty"),
        (None, "None is a NoneType, not a callable"),
        ([3], "3 is a int, not a callable"),
        ({"dice": REWARDS["dice"]}, "is a dict, not a callable"),
        (Judge, "Judge'> is a class: give an object of it"),
        (torch.zeros(3), "is a Tensor, not a callable"),
        (lambda references, predictions, **_: 0, "predictions are not its first argument"),
        (lambda *, predictions: 0, "too many positional arguments"),
        (lambda predictions, tags, /: 0, "missing a required .*argument: 'tags'"),
        (lambda: 0, "too many positional arguments"),
    ],
)
def test_what_is_no_reward_is_refused(rewards, message):
    with pytest.raises(ValueError, match=message):
        WeightedRewards(rewards)


@pytest.mark.parametrize(
    "path, message",
    [
        ("mean_iuo", "No reward named 'mean_iuo'. Use one of"),
        ("", "No reward named ''"),
        ("no_such_module:reward", "could not be imported: ModuleNotFoundError"),
        ("rss_hf.rewards:no_such", "could not be imported: AttributeError"),
        ("rss_hf.rewards:", "could not be imported"),
        (":dice", "could not be imported"),
        (".rewards:dice", "could not be imported"),
        ("rss_hf.:dice", "could not be imported"),
        ("a\0b:dice", "could not be imported"),
        ("\ud800:dice", "could not be imported"),
        ("judge_that_exits:f", "could not be imported: SystemExit: 0"),
        ("judge_that_fails:f", "could not be imported: ZeroDivisionError"),
        ("judge_cut_short:f", "could not be imported: SyntaxError"),
        ("rss_hf.constants:IGNORE_INDEX", "is a int, not a callable"),
        ("torch.nn:Module", "is a class"),
    ],
)
def test_a_path_to_no_reward_is_named_with_the_cause(path, message, tmp_path, monkeypatch):
    for name, text in {"exits": "that_exits", "fails": "that_fails", "cut": "cut_short"}.items():
        body = {"exits": "import sys; sys.exit(0)", "fails": "1 / 0", "cut": "def f("}[name]
        (tmp_path / f"judge_{text}.py").write_text(body)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ValueError, match=message) as error:
        get_reward(path)
    assert repr(path) in str(error.value)


@pytest.mark.parametrize(
    "weights, message",
    [
        ([1.0, 2.0], "1 rewards .'dice'. need as many weights; got reward_weights=.1.0, 2.0"),
        ([], "need as many weights"),
        ([0.0], "with every weight 0 there is nothing to train on"),
        (0, "with every weight 0"),
        ([float("nan")], "the weight of 'dice' must be a number within ±1e.12, got nan"),
        ([float("-inf")], "got -inf"),
        ([1e30], "got 1e.30"),
        ([10**400], "must be a number within"),
        (["1"], "got '1'"),
        ("1", "got '1'"),
        ([None], "got None"),
        ([1j], "got 1j"),
    ],
)
def test_weights_that_are_no_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        WeightedRewards(["dice"], weights)


def test_a_function_of_c_that_does_not_say_what_it_takes_is_taken():
    assert get_reward(max) is max


def test_the_total_is_the_weighted_sum_of_what_applies():
    rewards = {
        "image": torch.tensor([1.0, torch.nan]).view(1, 2, 1, 1),
        "pixel": torch.tensor([[2.0, torch.nan], [torch.nan, torch.nan]]).view(1, 2, 1, 2),
    }
    total = WeightedRewards(["dice", "pixel_match"], [3.0, 0.5]).total(rewards)
    expected = torch.tensor([[4.0, 3.0], [torch.nan, torch.nan]]).view(1, 2, 1, 2)
    torch.testing.assert_close(total, expected, equal_nan=True)


def test_a_reward_of_weight_0_takes_no_part_in_the_total():
    """Where it alone applies there is nothing to train on, and its level is not the total's."""
    trained, logged = torch.tensor([1.0, torch.nan]).view(1, 2, 1, 1), torch.ones(1, 2, 1, 2)
    total = WeightedRewards(["dice", "pixel_match"], [3.0, 0]).total({"dice": trained, "pixel_match": logged})
    torch.testing.assert_close(total, torch.tensor([3.0, torch.nan]).view(1, 2, 1, 1), equal_nan=True)


@pytest.mark.parametrize("rewards", [[1e12, 1e12], [-9e11, -9e11]])
def test_a_total_that_overflows_is_refused(rewards):
    parts = {name: torch.full((2, 2, 1, 1), value) for name, value in zip(("dice", "mean_iou"), rewards, strict=True)}
    with pytest.raises(RuntimeError, match=r"sum of the rewards \['dice', 'mean_iou'\] is beyond ±1e.12"):
        WeightedRewards(["dice", "mean_iou"]).total(parts)


def test_no_call_waits_for_the_device():
    """Fake tensors hold no values: a look at one would raise."""

    def own(predictions, **columns):
        return predictions.float().mean((1, 2))

    rewards = WeightedRewards(["running_log_iou", "pixel_match", own])
    assert not rewards.are_built_in and WeightedRewards(["mean_iou"]).are_built_in
    with FakeTensorMode():
        labels = torch.zeros(2, 8, 8, dtype=torch.int64)
        batch = RewardBatch({"pixel_values": torch.zeros(2, 3, 8, 8), "labels": labels})
        by_name = rewards(torch.zeros(4, 2, 4, 4, dtype=torch.int64), batch, 3)
        assert rewards.total(by_name).shape == (4, 2, 4, 4)
        with pytest.raises(DataDependentOutputException):
            labels.sum().item()


def test_values_at_the_ends_are_taken():
    assert WeightedRewards(["dice"], [1e12]).weights == [1e12] and WeightedRewards(["dice"], [-1e12]).weights == [
        -1e12
    ]
    assert WeightedRewards(["dice"], timeout=threading.TIMEOUT_MAX).timeout == threading.TIMEOUT_MAX
    largest = torch.tensor([1e12, -1e12]).view(2, 1, 1, 1)
    assert torch.equal(WeightedRewards(["dice"]).total({"dice": largest}), largest)


def test_one_total_that_overflows_among_others_is_refused():
    rewards = torch.tensor([2e12, 0.0]).view(2, 1, 1, 1)
    with pytest.raises(RuntimeError, match="is beyond"):
        WeightedRewards(["dice"]).total({"dice": rewards})


def test_a_path_may_lead_through_modules_and_classes():
    assert get_reward("rss_hf.rewards:segmentation.dice") is REWARDS["dice"]


def test_a_batch_reward_is_the_same_beside_a_black_box():
    actions, references = scene()
    alone = WeightedRewards(["batch_log_iou"])(actions, batch_of(references), C)
    beside = WeightedRewards(["batch_log_iou", judge])(actions, batch_of(references), C)
    assert torch.equal(alone["batch_log_iou"], beside["batch_log_iou"])
