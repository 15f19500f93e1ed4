"""What the files of a visitor's model may say: nothing that names other files, no number that fills the memory."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .images import Refusal


MAX_CONFIG = 1 << 20  # bytes
MAX_NUMBER = 32_768  # also of the sum of a list: transformers makes one layer for each unit of a list of depths
MAX_LENGTH = 1024  # of a list
# Each makes transformers read another model, or a kernel, from the Hub or from this machine.
OTHERS = ("backbone", "use_pretrained_backbone", "use_timm_backbone", "quantization_config")
KERNELS = "_implementation"  # how the keys end whose values, by the name of a part or alone, may be a repository


class Offline(threading.local):
    """By thread: the connections that were asked for within [`offline`]; outside of it, `None`."""

    asked: list[str] | None = None


_offline = Offline()


def check_config(path: Path):
    """
    Refuses settings in JSON that name another model, or whose numbers are no sizes of a model that can be held.

    Args:
        path (`Path`): of config.json or preprocessor_config.json, which transformers has not read yet.
    """
    if path.stat().st_size > MAX_CONFIG:
        raise Refusal(f"The model's {path.name} has more than {MAX_CONFIG >> 20} MiB, the most that is read.")
    _check_value(json.loads(path.read_text()), path.name, "")


def _check_value(value: object, file: str, key: str):
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_value(inner, file, key if key.endswith(KERNELS) else name)
    elif isinstance(value, list):
        if len(value) > MAX_LENGTH:
            raise Refusal(f"The model's {file} has {len(value)} values of {key[:40]!r}, too many for this page.")
        for inner in value:
            _check_value(inner, file, key)
        _check_value(sum(abs(inner) for inner in value if isinstance(inner, int)), file, key)
    elif isinstance(value, int) and abs(value) > MAX_NUMBER:
        raise Refusal(f"The model's {file} has {key[:40]!r} above {MAX_NUMBER}, too large for this page.")
    kernel = key.endswith(KERNELS) and isinstance(value, str) and "/" in value
    if kernel or (key in OTHERS and value):
        raise Refusal(
            f"The model's {file} asks by {key[:40]!r} for another model or its code. This page reads the files of the "
            "model that is named, and no others."
        )


def refuse_connections(event: str, arguments: tuple):
    """An audit hook of Python: refuses each connection of a thread within [`offline`], and remembers that it did."""
    if event in ("socket.getaddrinfo", "socket.connect") and _offline.asked is not None:
        _offline.asked.append(event)
        raise Refusal("The model's files ask for files of another model: this page reads no others.")


sys.addaudithook(refuse_connections)


@contextmanager
def offline() -> Iterator[None]:
    """
    Lets this thread open no connection: what a model's files name is not asked for, whichever library would. Raises
    `Refusal` at the end if it was tried, also where the library went on without.
    """
    asked: list[str] = []
    _offline.asked = asked
    try:
        yield
    finally:
        _offline.asked = None
        if asked:
            raise Refusal(
                "The model's files ask for another model or its code. This page reads the files of the model that is "
                "named, and no others."
            )
