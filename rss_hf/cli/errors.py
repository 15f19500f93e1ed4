"""Errors of what a user gave end a command with their message and exit code 1; a traceback is left for real bugs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_line_errors() -> Iterator[None]:
    """While input is read and checked: an error of a file, a value or a missing package as a `SystemExit`."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        raise exit_of(error) from error


@contextmanager
def one_line_own_errors() -> Iterator[None]:
    """While a model trains: the same of errors that this package raises, whose messages are written for users."""
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        trace = error.__traceback__
        while trace.tb_next is not None:
            trace = trace.tb_next
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] != "rss_hf":
            raise
        raise exit_of(error) from error


def exit_of(error: Exception) -> SystemExit:
    """The end of this process; of several, each but the first says which it is, as the first may have no error."""
    rank = os.environ.get("RANK", "0")
    message = " ".join(str(error).split()) or type(error).__name__
    return SystemExit(message if rank == "0" else f"Process {rank}: {message}")
