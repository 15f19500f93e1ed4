"""Rewards that raise, end the process, fork it, or do not answer."""

import logging
import os
import subprocess
import sys
import threading
import time

import pytest
import torch
from helpers.scenes import C, batch_of, scene
from transformers import TrainerState

from rss_hf.rewards import RewardContext, WeightedRewards, guarded_call


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def judged(behaviour, timeout=None, trainer_state=None):
    def judge(predictions, references=None, **columns):
        behaviour()
        return torch.full((len(predictions),), float(torch.is_grad_enabled()))

    actions, references = scene()
    return WeightedRewards([judge], timeout=timeout)(
        actions, batch_of(references), C, RewardContext(trainer_state=trainer_state)
    )["judge"]


def raising(error):
    def behaviour():
        raise error

    return behaviour


@pytest.mark.parametrize("timeout", [None, 60])
@pytest.mark.parametrize(
    "behaviour, message",
    [
        (lambda: 1 / 0, "raised ZeroDivisionError: division by zero"),
        (raising(TypeError("got an unexpected keyword")), "raised TypeError: got an unexpected keyword"),
        (raising(TimeoutError("of its own")), "raised TimeoutError: of its own"),
        (raising(StopIteration()), "raised StopIteration"),
        (raising(GeneratorExit()), "raised GeneratorExit"),
        (raising(BaseException("odd")), "raised BaseException: odd"),
        (raising(Unspeakable()), "raised .*Unspeakable: <exception str.. failed>"),
        (lambda: sys.exit(0), r"called sys.exit\(0\)"),
        (lambda: sys.exit("done"), r"called sys.exit\('done'\)"),
        (sys.exit, r"called sys.exit\(None\)"),
    ],
)
def test_whatever_ends_a_reward_is_an_error_that_names_it(behaviour, message, timeout):
    with pytest.raises(RuntimeError, match=rf"Reward 'judge' \(global_step 12\) {message}"):
        judged(behaviour, timeout, TrainerState(global_step=12))


@pytest.mark.parametrize("timeout", [None, 60])
def test_an_interrupt_passes(timeout):
    with pytest.raises(KeyboardInterrupt):
        judged(raising(KeyboardInterrupt()), timeout)


@pytest.mark.parametrize("timeout", [None, 60])
def test_a_reward_that_answers_is_called_without_gradients(timeout):
    with torch.enable_grad():
        assert torch.equal(judged(lambda: None, timeout), torch.zeros(3, 3, 1, 1))


def test_a_reward_that_hangs_ends_with_an_error():
    release = threading.Event()
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="Reward 'judge' did not answer within reward_timeout=0.2 s"):
        judged(release.wait, timeout=0.2)
    assert time.monotonic() - start < 10
    release.set()


@pytest.mark.parametrize("timeout, limit", [(None, "reward_timeout ends such a run"), (60, "reward_timeout is 60 s")])
def test_the_log_says_what_is_waited_for(timeout, limit, monkeypatch, caplog):
    monkeypatch.setattr(guarded_call, "FIRST_NOTICE", 0.2)
    monkeypatch.setattr(guarded_call, "NEXT_NOTICES", 0.3)
    with caplog.at_level(logging.WARNING):
        judged(lambda: None, timeout, TrainerState(global_step=4))  # at once: no line
        judged(lambda: time.sleep(0.7), timeout, TrainerState(global_step=5))
    lines = [record.getMessage() for record in caplog.records]
    start = "Reward 'judge' (global_step 5) has not answered for"
    assert lines == [f"{start} 0.2 s; {limit}.", f"{start} 0.5 s; {limit}."]


@pytest.mark.parametrize("timeout", [None, 60])
def test_an_error_says_on_which_rank(timeout):
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(RuntimeError, match=r"Reward 'judge' \(global_step 3, rank 0 of 1\) raised"):
            judged(lambda: 1 / 0, timeout, TrainerState(global_step=3))
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "5"])
def test_a_time_limit_that_is_none_is_refused(timeout):
    with pytest.raises(ValueError, match="reward_timeout must be seconds, above 0"):
        WeightedRewards(["dice"], timeout=timeout)


PROGRAM = """
import os, sys, time, torch
from helpers.scenes import C, batch_of, scene
from rss_hf.rewards import RewardContext, WeightedRewards

def score(judge, timeout=None):
    actions, references = scene()
    WeightedRewards([judge], timeout=timeout)(actions, batch_of(references), C)
    print("trains on", flush=True)
"""
FORKS = """
def forking(end):
    def judge(predictions, references=None, **columns):
        child = os.fork()
        if child == 0:
            end()
        else:
            print("child", os.waitpid(child, 0)[1] >> 8)
        return torch.zeros(len(predictions))
    return judge

for timeout in (None, 60):
    for end in (lambda: None, lambda: sys.exit(0), lambda: 1 / 0, lambda: os._exit(3)):
        score(forking(end), timeout)
"""


def run(program):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM + program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_one_process_trains_on_after_a_fork():
    """Whether the other returns, exits, or raises; one that ends itself, as it should, is left alone."""
    done = run(FORKS)
    by_end = [[f"child {code}", "trains on"] for code in (1, 1, 1, 3)]
    assert done.returncode == 0 and done.stdout.splitlines() == 2 * sum(by_end, [])
    assert done.stderr.count("Reward 'judge' came back in a process that it forked; that process is ended.") == 6


@pytest.mark.parametrize(
    "body, timeout, message",
    [
        ("sys.exit(0)", None, "Reward 'judge' called sys.exit(0)"),
        ("time.sleep(3600)", 0.5, "Reward 'judge' did not answer within reward_timeout=0.5 s"),
    ],
)
def test_a_reward_does_not_end_the_process_as_if_it_had_succeeded(body, timeout, message):
    done = run(f"def judge(predictions, **columns):\n    {body}\nscore(judge, {timeout})")
    assert done.returncode != 0 and message in done.stderr and "trains on" not in done.stdout
