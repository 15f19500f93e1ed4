"""Records of measurements, one JSON object a line, and what each says of the place where it was made."""

import json
import os
import platform
import subprocess
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch


ROOT = Path(__file__).parents[1]
RECORDS = Path(__file__).parent / "records"


def provenance(cores: int | None = None) -> dict:
    """
    Date, commit, machine and versions of a measurement.

    Args:
        cores (`int`, *optional*, defaults to those this process may use): the CPU cores that measured.
    """
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{cores} CPU core{'s' * (cores > 1)}"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "date": date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "machine": f"{device}, {platform.machine()}",
        "versions": {name: version(name) for name in ("torch", "transformers", "rss-hf")},
    }


def records_of(source: str) -> Path:
    """The file of the runs on `"shapes"`, `"camvid"` or `"voc"`, or of what else was measured."""
    return RECORDS / f"{source}.jsonl"


def read_records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append_record(path: Path, record: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")
