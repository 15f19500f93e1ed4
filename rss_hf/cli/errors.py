"""Errors of what a user gave end a command with their message and exit code 1; a traceback is left for real bugs."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from ..rewards import RewardError


@contextmanager
def one_line_errors() -> Iterator[None]:
    """While input is read and checked: an error of a file, a value or a missing package as a `SystemExit`."""
    try:
        yield
    except (ValueError, OSError, ImportError, RewardError) as error:
        raise exit_of(error) from error


@contextmanager
def one_line_own_errors() -> Iterator[None]:
    """While a model trains: the same of errors that this package raises, whose messages are written for users."""
    try:
        yield
    except (ValueError, OSError, FloatingPointError, RewardError) as error:
        trace = error.__traceback__
        while trace.tb_next is not None:
            trace = trace.tb_next
        if not is_of_this_package(trace):
            raise
        raise exit_of(error) from error


def exit_of(error: Exception) -> SystemExit:
    """
    The end of this process; of several, each but the first says which it is, as the first may have no error. Where a
    user's reward raised, the way from there to its error is printed.
    """
    if isinstance(error, RewardError) and error.__cause__ is not None:
        trace = error.__cause__.__traceback__
        while trace is not None and is_of_this_package(trace):
            trace = trace.tb_next
        traceback.print_tb(trace)
    rank = os.environ.get("RANK", "0")
    message = " ".join(str(error).split()) or type(error).__name__
    return SystemExit(message if rank == "0" else f"Process {rank}: {message}")


def is_of_this_package(trace: TracebackType) -> bool:
    """Whether the code that was running is this package's."""
    return trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] == "rss_hf"
