"""Checkpoints that are whole or not there: moved to their place when written, checked by sums when resumed."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from transformers.utils import logging


logger = logging.get_logger(__name__)

MANIFEST = "checkpoint.json"  # in each checkpoint: the sum of every file, and the settings of the run
WRITING = ".writing"  # folder in the output folder in which a checkpoint is written
NEEDED = ("optimizer", "scheduler", "rng_state", "trainer_state")  # how the files begin without which none resumes


class DamagedCheckpoint(ValueError):
    """A checkpoint that cannot be resumed from; the message says why."""


def write_manifest(folder: str | Path, settings: dict[str, Any]) -> None:
    """Writes the sums of all files of a checkpoint and the run's `settings` into it, and all of it to the disk."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file() and path.name != MANIFEST)
    sums = {str(path.relative_to(folder)): file_sum(path) for path in files}
    manifest = Path(folder, MANIFEST)
    manifest.write_text(json.dumps({"files": sums, "settings": settings}, indent=1) + "\n")
    for path in (*files, manifest):
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def file_sum(path: str | Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            total.update(block)
    return total.hexdigest()


def check_checkpoint(folder: str | Path) -> dict[str, Any]:
    """
    The settings of the run that a checkpoint is of.

    Raises:
        DamagedCheckpoint: if it is not whole, a file is missing or changed, or it holds no more than a model.
    """
    manifest = Path(folder, MANIFEST)
    if not Path(folder).is_dir():
        raise DamagedCheckpoint(f"{folder}: there is no such folder.")
    try:
        content = json.loads(manifest.read_text())
        sums, settings = content["files"], content["settings"]
    except FileNotFoundError as error:
        raise DamagedCheckpoint(f"{folder} was not written to the end: it has no {MANIFEST}.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpoint(f"{manifest} cannot be read: {error}") from error
    for name, expected in sums.items():
        path = Path(folder, name)
        if not path.is_file():
            raise DamagedCheckpoint(f"{path} is missing.")
        if file_sum(path) != expected:
            raise DamagedCheckpoint(f"{path} is damaged: its content is not what was written.")
    for needed in NEEDED:
        if not any(Path(name).name.startswith(needed) for name in sums):
            raise DamagedCheckpoint(
                f"{folder} holds no {needed}, since it was saved with save_only_model: it cannot be resumed. Train "
                "from its weights in another output_dir."
            )
    return settings


def find_checkpoint(output_dir: str | Path) -> str | None:
    """The newest whole checkpoint in a folder, None if there is none; warns of each newer one and what it lacks."""
    steps = {}
    if Path(output_dir).is_dir():
        for path in Path(output_dir).iterdir():
            if path.is_dir() and (match := re.fullmatch(r"checkpoint-(\d+)", path.name)):
                steps[int(match[1])] = path
    for _, folder in sorted(steps.items(), reverse=True):
        try:
            check_checkpoint(folder)
        except DamagedCheckpoint as error:
            logger.warning(f"{folder.name} is skipped: {error}")
        else:
            return str(folder)
    return None


def compare_settings(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Warns of the settings in which a resumed run differs from what it began with."""
    changed = [
        f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if changed:
        logger.warning(f"This run goes on with other settings than it began with: {'; '.join(changed)}.")
