"""What a reward is given, what it may return, and what is refused."""

import asyncio
import math
import re
import threading

import numpy as np
import PIL.Image
import pytest
import torch
from helpers.scenes import SIZE, C, batch_of, scene

from rss_hf.policy import upsample_actions
from rss_hf.rewards import RewardBatch, RewardContext, WeightedRewards
from rss_hf.rewards import calls as reward_calls


def count_of_class_one(predictions, references=None, **columns):
    return (predictions == 1).float().sum((1, 2))


def test_a_black_box_gets_maps_columns_and_state():
    actions, references = scene()
    seen = {}

    def reward(predictions, references=None, **columns):
        seen.update(columns, predictions=predictions, references=references)
        return columns["bonus"] + torch.tensor([len(name) for name in columns["id"]])

    columns = {"bonus": torch.tensor([10.0, 20, 30]), "id": ["a", "bb", "ccc"], "image_positions": torch.zeros(3, 2)}
    rewards = WeightedRewards([reward])(
        actions, batch_of(references, **columns), C, RewardContext(trainer_state="state")
    )["reward"]
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
    monkeypatch.setattr(reward_calls, "PIXELS_PER_CALL", 2 * math.prod((3, *SIZE)))
    assert torch.equal(judged(), at_once) and calls == [15, 6, 6, 3]


def test_references_are_none_without_masks():
    actions, _ = scene()
    rewards = WeightedRewards([count_of_class_one])(actions, batch_of(), C)["count_of_class_one"]
    torch.testing.assert_close(rewards[..., 0, 0], (upsample_actions(actions, SIZE) == 1).float().sum((2, 3)))
    with pytest.raises(RuntimeError, match="'mean_iou'.*no.*mask|'mean_iou'.*reference mask"):
        WeightedRewards(["mean_iou"])(actions, batch_of(), C)


def test_what_a_reward_writes_reaches_neither_the_batch_nor_another_reward():
    """With a single sample too, where a copy of a column is not needed to repeat it."""
    actions, references = scene(num_samples=1)
    columns = {"areas": torch.ones(3, 2), "tags": [["a"], ["b"], ["c"]], "array": np.ones((3, 2))}
    batch = batch_of(references.clone(), **columns)
    seen = []

    def vandal(predictions, references=None, pixel_values=None, areas=None, tags=None, array=None, **columns):
        seen.append([part.sum().item() for part in (predictions, references, pixel_values, areas)])
        seen[-1] += [sum(map(len, tags)), sum(entry.sum() for entry in array)]
        for part in (predictions, references, pixel_values, areas, *array):
            part[:] = 7
        for tag in tags:
            tag.append("x")
        return torch.zeros(len(predictions))

    def other(predictions, pixel_values, **columns):
        return vandal(predictions, pixel_values=pixel_values, **columns)

    WeightedRewards([vandal, other])(actions, batch, C)
    assert seen[0] == seen[1] and torch.equal(batch._references, references)
    assert columns["tags"] == [["a"], ["b"], ["c"]] and columns["areas"].sum() == columns["array"].sum() == 6


@pytest.mark.parametrize(
    "name",
    ["predictions", "references", "images", "class_names", "trainer_state", "log_metric", 3, None, ("a", "b")],
)
def test_a_column_that_no_reward_could_be_given_is_refused(name):
    with pytest.raises(ValueError, match=rf"called {re.escape(repr(name))}, .*rename the column"):
        RewardBatch({"pixel_values": torch.zeros(2, 3, *SIZE), name: [1, 2]})


@pytest.mark.parametrize("name", ["class", "lambda", "not a name", "", "zeros", "self"])
def test_a_function_may_be_given_a_column_of_any_other_name(name):
    actions, references = scene()

    def reward(predictions, references=None, **columns):
        return torch.tensor(columns[name])

    rewards = WeightedRewards([reward])(actions, batch_of(references, **{name: [1.0, 2.0, 3.0]}), C)["reward"]
    assert rewards[0, :, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "column, got",
    [
        (torch.zeros(2, 5), "2 entries"),
        ([1, 2, 3, 4], "4 entries"),
        (np.zeros(6), "6 entries"),
        (torch.tensor(3.0), "one Tensor"),
        (3, "one int"),
        ("abc", "one str"),
        (b"abc", "one bytes"),
        ([b"\x80"], "1 entries"),
        ([[1, 2], [3]], "2 entries"),
        ({"a": 1, "b": 2, "c": 3}, "one dict"),
        (None, "one NoneType"),
    ],
)
def test_a_column_without_an_entry_for_each_image_is_refused(column, got):
    with pytest.raises(ValueError, match=f"Column 'weight' must have an entry for each of 3 images, got {got}"):
        batch_of(weight=column)


@pytest.mark.parametrize("column", [[1.0, 2, 3], (1.0, 2, 3), np.array([1.0, 2, 3]), torch.tensor([1.0, 2, 3])])
def test_a_column_of_any_kind_is_repeated_for_each_sample(column):
    actions, references = scene()

    def reward(predictions, references=None, weight=None, **columns):
        return torch.as_tensor(weight)

    rewards = WeightedRewards([reward])(actions, batch_of(references, weight=column), C)["reward"]
    assert rewards[..., 0, 0].tolist() == [[1, 2, 3]] * 3


def test_a_reward_is_given_what_it_names():
    actions, references = scene()
    columns = {"tags": [["a"], [], ["b"]], "areas": torch.tensor([0.1, 0.2, 0.3]), "id": ["x", "y", "z"]}
    batch, seen = batch_of(references, **columns), {}

    def named(predictions, tags, areas, pixel_values, weight=2.0, *, references):
        seen.update(tags=tags, areas=areas, pixel_values=pixel_values, weight=weight, references=references)
        return areas

    def maps_alone(maps):
        return maps.float().mean((1, 2))

    rewards = WeightedRewards([named, maps_alone])(actions, batch, C)
    torch.testing.assert_close(rewards["named"][:, :, 0, 0], torch.tensor([[0.1, 0.2, 0.3]] * 3))
    assert seen["tags"] == [["a"], [], ["b"]] * 3 and seen["tags"][0] is seen["tags"][3]  # one copy for all maps
    assert seen["pixel_values"].shape == (9, 3, *SIZE) and seen["weight"] == 2.0
    assert torch.equal(seen["references"], references.repeat(3, 1, 1))


def test_what_the_data_does_not_have_is_named():
    actions, references = scene()

    def judge(predictions, tags, areas=None):
        return predictions.float().mean((1, 2))

    with pytest.raises(RuntimeError, match=r"'judge' raised .*asks for \['tags'\].*its columns are \['id'\]"):
        WeightedRewards([judge])(actions, batch_of(references, id=["a", "b", "c"]), C)


def test_images_class_names_and_metrics_of_its_own():
    actions, references = scene()
    logged = {}

    def to_images(pixel_values):
        return [PIL.Image.new("RGB", (4, 4), (i, 0, 0)) for i in range(len(pixel_values))]

    def judge(predictions, images, class_names, log_metric):
        assert class_names == ["a", "b"] and images[0] is images[3]
        log_metric("mine", 4.0)
        return [image.getpixel((0, 0))[0] for image in images]

    context = RewardContext(class_names=["a", "b"], log_metric=logged.__setitem__, to_images=to_images)
    rewards = WeightedRewards([judge])(actions, batch_of(references), C, context)
    assert rewards["judge"][:, :, 0, 0].tolist() == [[0, 1, 2]] * 3
    assert logged["mine"] == 4.0 and logged["reward/judge/seconds"] > 0
    with pytest.raises(RuntimeError, match="without an image processor"):
        WeightedRewards([judge])(actions, batch_of(references), C)


@pytest.mark.parametrize("inside_a_loop", [False, True])
def test_async_rewards_are_awaited_together(inside_a_loop):
    """Each waits for the other to begin: one after the other they would never end."""
    actions, references = scene()

    def pair():
        begun = [threading.Event(), threading.Event()]

        async def until(own, other):
            begun[own].set()
            while not begun[other].is_set():
                await asyncio.sleep(0.001)

        async def first(predictions, weight):
            await until(0, 1)
            return weight

        async def second(predictions):
            await until(1, 0)
            return [2.0] * len(predictions)

        return [first, "mean_iou", second]

    def judge():
        batch = batch_of(references, weight=torch.tensor([1.0, 2.0, 3.0]))
        return WeightedRewards(pair(), timeout=20)(actions, batch, C)

    async def in_a_loop():
        return judge()

    rewards = asyncio.run(in_a_loop()) if inside_a_loop else judge()
    assert list(rewards) == ["first", "mean_iou", "second"]
    assert rewards["first"][:, :, 0, 0].tolist() == [[1, 2, 3]] * 3 and (rewards["second"] == 2).all()


def test_an_async_reward_that_fails_or_hangs_is_named():
    actions, references = scene()

    async def fails(predictions):
        raise ConnectionError("no route")

    async def hangs(predictions):
        await asyncio.sleep(60)

    async def works(predictions):
        return [1.0] * len(predictions)

    with pytest.raises(RuntimeError, match="Reward 'fails' raised ConnectionError: no route"):
        WeightedRewards([works, fails])(actions, batch_of(references), C)
    with pytest.raises(TimeoutError, match="hangs"):
        WeightedRewards([hangs], timeout=0.2)(actions, batch_of(references), C)


def test_what_is_as_large_as_an_image_is_given_by_name_alone():
    actions, references = scene()
    batch, seen = batch_of(references, image_positions=torch.zeros(3, *SIZE), weight=[1.0, 2.0, 3.0]), []

    def takes_all(predictions, **columns):
        seen.append(set(columns))
        return [0.0] * len(predictions)

    def by_name(predictions, pixel_values, image_positions):
        return [float(len(pixel_values) + len(image_positions))] * len(predictions)

    rewards = WeightedRewards([takes_all, by_name])(actions, batch, C)
    assert seen == [{"references", "trainer_state", "weight"}] and (rewards["by_name"] == 18).all()


def test_images_may_be_asked_for_where_they_can_be_made():
    actions, references = scene()

    def judge(predictions, images=None):
        return [float(images is not None)] * len(predictions)

    def to_images(pixel_values):
        return [PIL.Image.new("RGB", (4, 4))] * len(pixel_values)

    for context, expected in ((RewardContext(), 0), (RewardContext(to_images=to_images), 1)):
        assert (WeightedRewards([judge])(actions, batch_of(references), C, context)["judge"] == expected).all()
