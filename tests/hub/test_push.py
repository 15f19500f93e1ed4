"""The order, the retries and the report of pushes, with a Hub that fails on command."""

import threading

import pytest

from rss_hf.hub import push as hub_push
from rss_hf.hub.push import Push, PushQueue


class Attempts(list):
    """The errors that the next attempts meet, in order, before all succeed. `done` lists the attempts."""

    def __init__(self):
        super().__init__()
        self.done = []
        self.gate = threading.Event()  # closed, attempts wait
        self.gate.set()

    def attempt(self, push):
        assert self.gate.wait(10)
        self.done.append(push.commit_message)
        if self:
            raise self.pop(0)
        return push.commit_message


@pytest.fixture
def attempts(monkeypatch):
    attempts = Attempts()
    monkeypatch.setattr(Push, "once", lambda push: attempts.attempt(push))
    monkeypatch.setattr(hub_push, "RETRY_DELAYS", (0.0, 0.0))
    return attempts


@pytest.fixture
def errors(monkeypatch):
    messages = []
    monkeypatch.setattr(hub_push.logger, "error", messages.append)
    return messages


def push(folder, message, path_in_repo=None):
    return Push(str(folder), "org/model", path_in_repo, commit_message=message, token="hf_secret")


def test_a_push_is_tried_three_times(attempts, tmp_path):
    attempts += [OSError("down"), ValueError("odd")]
    assert push(tmp_path, "a").run() == "a" and attempts.done == ["a"] * 3
    attempts += [OSError("down"), OSError("down"), OSError("still down")]
    with pytest.raises(OSError, match="still down"):
        push(tmp_path, "b").run()


def test_pushes_that_a_newer_one_overtakes_are_left_out(attempts, errors, tmp_path):
    queue = PushQueue()
    attempts.gate.clear()
    messages = [("a", None), ("b", None), ("c", "checkpoint-1"), ("d", None)]
    futures = [queue.submit(push(tmp_path, message, place), always=False) for message, place in messages]
    futures.append(queue.submit(push(tmp_path, "e"), always=True))
    attempts.gate.set()
    queue.finish()
    assert [future.result() for future in futures][1:] == [None, "c", None, "e"]
    assert attempts.done[-2:] == ["c", "e"] and errors == []


def test_what_failed_is_tried_again_in_the_end(attempts, errors, tmp_path):
    queue = PushQueue()
    attempts += [OSError("down")] * 3
    assert queue.submit(push(tmp_path, "a")).result() is None
    assert list(queue.failed) == [None]
    queue.finish()
    assert attempts.done == ["a"] * 4 and queue.failed == {} and errors == []


def test_a_newer_push_to_the_same_place_makes_good(attempts, errors, tmp_path):
    queue = PushQueue()
    attempts += [OSError("down")] * 3
    queue.submit(push(tmp_path, "a"))
    assert queue.submit(push(tmp_path, "b")).result() == "b"
    queue.finish()
    assert attempts.done == ["a"] * 3 + ["b"] and errors == []


def test_the_report_says_which_command_finishes_it(attempts, errors, tmp_path):
    queue = PushQueue()
    attempts += [PermissionError("no token")] * 6
    folder = tmp_path / "my run"
    folder.mkdir()
    queue.submit(Push(str(folder), "org/model", revision="v1", private=True, token="hf_secret"))
    queue.finish()
    assert errors == [
        f"{folder} is complete on disk but not on the Hub: pushing it to org/model failed with PermissionError: no "
        "token\nFinish it with:\n"
        f"  rss-hf push --folder '{folder}' --repo_id org/model --revision v1 --private true"
    ]
    assert "hf_secret" not in repr(queue.failed)


def test_a_checkpoint_that_is_gone_is_given_up(attempts, errors, tmp_path):
    queue = PushQueue()
    attempts += [OSError("down")] * 3
    queue.submit(push(tmp_path / "checkpoint-1", "a"))
    queue.finish()
    assert attempts.done == ["a"] * 3 and queue.failed == {} and errors == []
