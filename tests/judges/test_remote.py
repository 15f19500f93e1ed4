"""A judge behind a URL: what is sent, what comes back, and what happens where it fails."""

import time

import numpy as np
import PIL.Image
import pytest
import torch
from helpers.judge_server import JudgeServer, decoded

from rss_hf.feedback import FeedbackStore
from rss_hf.judges import RemoteReward
from rss_hf.judges import remote as module
from rss_hf.rewards import RewardBatch, RewardContext, WeightedRewards


C = 3


@pytest.fixture
def server():
    with JudgeServer() as server:
        yield server


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.05)


def to_images(pixel_values):
    return [PIL.Image.new("RGB", tuple(pixels.shape[:0:-1]), (i, 0, 0)) for i, pixels in enumerate(pixel_values)]


def scene(num_samples=4, batch_size=3, **columns):
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(C, (num_samples, batch_size, 4, 6), generator=generator)
    inputs = {"pixel_values": torch.zeros(batch_size, 3, 4, 6), "id": ["a", "b", "c"][:batch_size]} | columns
    return actions, RewardBatch(inputs)


def judged(reward, actions, batch):
    (values,) = WeightedRewards([reward])(actions, batch, C, RewardContext(to_images=to_images)).values()
    return values[:, :, 0, 0]


def share_of_class_one(actions):
    return (actions == 1).float().mean((2, 3))


def test_scores_come_back_in_their_places(server):
    actions, batch = scene(weight=torch.tensor([1.0, 2.0, 3.0]), secret=["x"] * 3)
    reward = RemoteReward(server.url, batch_size=5, columns=["weight"])
    torch.testing.assert_close(judged(reward, actions, batch), share_of_class_one(actions))
    assert reward.__name__ == "thirds" and reward.asked == 12 and set(server.asked.values()) == {1}
    items = [item for content in server.requests for item in content["maps"]]
    assert sorted(item["row"]["weight"] for item in items) == [1.0] * 4 + [2.0] * 4 + [3.0] * 4
    assert all(set(item["row"]) == {"id", "weight"} for item in items)
    sent = {np.asarray(decoded(item["map"])).tobytes() for item in items}
    assert sent == {action.numpy().astype(np.uint8).tobytes() for action in actions.flatten(0, 1)}


def test_each_image_of_a_request_is_sent_once(server):
    actions, batch = scene()
    judged(RemoteReward(server.url, batch_size=12), actions, batch)
    (content,) = server.requests
    assert len(content["images"]) == 3
    for item in content["maps"]:
        red = decoded(content["images"][item["image"]]).getpixel((0, 0))[0]
        assert ["a", "b", "c"][red] == item["row"]["id"]
    server.requests.clear()
    judged(RemoteReward(server.url, batch_size=12, send_images=False), actions, batch)
    assert server.requests[0]["images"] == [] and server.requests[0]["maps"][0]["image"] is None


def test_no_answer_is_nan_and_equal_maps_are_asked_about_once(server):
    actions, batch = scene()
    actions[1] = actions[0]
    server.score = lambda item, images: None if item["row"]["id"] == "b" else 0.25
    values = judged(RemoteReward(server.url), actions, batch)
    assert values[:, 1].isnan().all() and (values[:, [0, 2]] == 0.25).all()
    assert len(server.asked) == 9 and set(server.asked.values()) == {1}


@pytest.mark.parametrize("fault", [500, 503, 429, "reset", "cut"])
def test_passing_faults_are_tried_again(server, fault):
    actions, batch = scene()
    server.faults = [fault, fault]
    reward = RemoteReward(server.url, workers=1, batch_size=12)
    torch.testing.assert_close(judged(reward, actions, batch), share_of_class_one(actions))


def test_a_slow_answer_is_tried_again(server):
    actions, batch = scene()
    server.faults = [1.0]
    reward = RemoteReward(server.url, timeout=0.2, batch_size=12)
    torch.testing.assert_close(judged(reward, actions, batch), share_of_class_one(actions))


def test_requests_go_out_together(server):
    actions, batch = scene(num_samples=8)
    server.faults = [0.3] * 8
    start = time.perf_counter()
    judged(RemoteReward(server.url, workers=8, batch_size=3), actions, batch)
    assert time.perf_counter() - start < 8 * 0.3 / 2  # half of the sum: eight at once take 0.3 s


@pytest.mark.parametrize(
    "faults, message",
    [
        ([500] * 20, r"http://127.0.0.1:\d+/thirds did not answer, tried up to 3 times: status 500"),
        ([404] * 20, "status 404 Not Found"),
        (["reset"] * 20, "did not answer, tried up to 3 times: MaxRetryError"),
        (["garbage"], r"answered b'<html>', not \{\"scores\": \[...\]\}"),
    ],
)
def test_a_judge_that_stays_away_ends_with_its_address(server, faults, message):
    actions, batch = scene()
    server.faults = faults
    with pytest.raises(RuntimeError, match=message):
        judged(RemoteReward(server.url, retries=2), actions, batch)


@pytest.mark.parametrize(
    "score, message",
    [
        ("good", "the score 'good': give finite numbers, or null"),
        (True, "the score True"),
        (float("nan"), "the score nan"),
    ],
)
def test_answers_that_are_no_scores_are_shown(server, score, message):
    actions, batch = scene()
    server.score = lambda item, images: score
    with pytest.raises(RuntimeError, match=message):
        judged(RemoteReward(server.url), actions, batch)


def test_too_few_scores_are_refused(server):
    with pytest.raises(RuntimeError, match=r"answered '\[1\]' for 2 maps"):
        RemoteReward(server.url)._scores(b'{"scores": [1]}', 2)


@pytest.mark.parametrize("url", ["judge", "ftp://host/judge", "http://", "https:///x"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match="is no URL of a judge"):
        RemoteReward(url)
    with pytest.raises(ValueError, match="batch_size, workers and timeout must be above 0"):
        RemoteReward("http://host", workers=0)


def test_answers_that_came_before_a_failure_are_kept(server, tmp_path):
    """One request of four is answered; the next run asks about the rest alone."""
    actions, batch = scene()
    server.faults = [None, 404, 404, 404]
    reward = RemoteReward(server.url, batch_size=3, workers=1)
    reward.store = FeedbackStore(tmp_path)
    with pytest.raises(RuntimeError, match="status 404"):
        judged(reward, actions, batch)
    assert len(FeedbackStore(tmp_path)) == 3
    server.faults = []
    later = RemoteReward(server.url, batch_size=3)
    later.store = FeedbackStore(tmp_path)
    torch.testing.assert_close(judged(later, actions, batch), share_of_class_one(actions))
    assert later.asked == 9 and set(server.asked.values()) == {1} and len(server.asked) == 12
