"""A call of somebody else's function: it may hang, end the process, or come back in a forked one."""

import contextvars
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import TrainerState

from .answers import RewardError


logger = logging.getLogger(__name__)

FIRST_NOTICE, NEXT_NOTICES = 30.0, 60.0  # seconds of waiting until the log says so, and between further lines


def guarded_call(
    name: str,
    function: Callable[[], Any],
    device: torch.device,
    trainer_state: Any = None,
    timeout: float | None = None,
) -> Any:
    """
    What `function` returns. After 30 seconds, and each minute then, the log says that it is waited for.

    Args:
        name (`str`): of the reward.
        function (`Callable`): the call, without arguments.
        device (`torch.device`): the current device of the call.
        trainer_state (*optional*): the step is read from a `TrainerState`.
        timeout (`float`, *optional*):
            Seconds. With it the call runs in a thread, which is left to itself when the time is over.

    Raises:
        TimeoutError: if there is no answer in time.
        RewardError: if the function raises anything but `KeyboardInterrupt`. All errors name the reward.
    """
    where = _where(trainer_state)
    with _notices(name, where, timeout):
        if timeout is None:
            return _call(name, function, where)
        return _call_in_thread(name, function, where, device, timeout)


def _call(name: str, function: Callable[[], Any], where: str) -> Any:
    process = os.getpid()
    try:
        return function()
    except KeyboardInterrupt:
        raise
    except SystemExit as error:
        raise RewardError(
            f"Reward {name!r}{where} called sys.exit({error.code!r}): raise an error instead."
        ) from error
    except BaseException as error:
        message = "".join(traceback.format_exception_only(error)).strip()  # also where `str(error)` fails
        raise RewardError(f"Reward {name!r}{where} raised {message}") from error
    finally:
        if os.getpid() != process:  # two processes would train on, in one folder
            sys.stderr.write(f"Reward {name!r}{where} came back in a process that it forked; that process is ended.\n")
            sys.stderr.flush()
            os._exit(1)


def _call_in_thread(name: str, function: Callable[[], Any], where: str, device: torch.device, timeout: float) -> Any:
    answers: list[Any] = []
    errors: list[BaseException] = []

    def work():
        try:
            if device.type != "cpu":  # current devices and gradient modes are a thread's own
                torch.accelerator.set_device_index(device.index or 0)
            with torch.no_grad():
                answers.append(_call(name, function, where))
        except BaseException as error:  # raised below, in the thread that waits
            errors.append(error)

    # A daemon does not keep the process from ending.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True, name=f"reward {name}")
    thread.start()
    thread.join(timeout)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError(f"Reward {name!r}{where} did not answer within reward_timeout={timeout:g} s.")
    return answers[0]


@contextmanager
def _notices(name: str, where: str, timeout: float | None) -> Iterator[None]:
    answered = threading.Event()

    def watch():
        waited, pause = 0.0, FIRST_NOTICE
        limit = "reward_timeout ends such a run" if timeout is None else f"reward_timeout is {timeout:g} s"
        while not answered.wait(pause):
            waited, pause = waited + pause, NEXT_NOTICES
            logger.warning(f"Reward {name!r}{where} has not answered for {waited:g} s; {limit}.")

    thread = threading.Thread(target=watch, daemon=True, name=f"notices of reward {name}")
    thread.start()
    try:
        yield
    finally:
        answered.set()


def _where(trainer_state: Any) -> str:
    """Step and rank of a call, for messages: ` (global_step 12, rank 1 of 2)`."""
    parts = [f"global_step {trainer_state.global_step}"] if isinstance(trainer_state, TrainerState) else []
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        parts.append(f"rank {torch.distributed.get_rank()} of {torch.distributed.get_world_size()}")
    return f" ({', '.join(parts)})" if parts else ""
