"""The demo as a process of its own, with a tiny model and a loopback Hub."""

import atexit
import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from helpers.hub_server import Hub, Repo
from helpers.models import TINY
from PIL import Image
from transformers import SegformerForImageClassification, SegformerImageProcessor

from rss_hf import RSSSegformerConfig, RSSSegformerForSemanticSegmentation


ROOT = Path(__file__).parents[2]
NAMES = ["background", "circle", "square", "triangle"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # a GPU's convolutions round otherwise


class Server:
    """
    `spaces_app/app.py --model FOLDER` on a free port of 127.0.0.1, until `stop` or the end of this process.

    Attributes:
        url (`str`): the page's address.
        hub ([`~helpers.hub_server.Hub`]): the Hub it knows.
        process (`subprocess.Popen`): of the server.
    """

    def __init__(self, model: str | Path):
        self.folder = tempfile.TemporaryDirectory()
        self.hub = Hub().__enter__()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = Path(self.folder.name) / "log"
        environment = ENVIRONMENT | self.hub.environment(Path(self.folder.name) / "hub")
        environment["GRADIO_TEMP_DIR"] = self.folder.name
        command = [sys.executable, "spaces_app/app.py", "--model", str(model), "--port", str(port)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=ROOT)
        atexit.register(self.stop)
        self.wait()

    def wait(self):
        """Until it answers."""
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and self.process.poll() is None:
            if "Running on local URL" in self.log.read_text():
                return
            time.sleep(0.2)
        raise RuntimeError(f"The demo does not start:\n{self.log.read_text()[-3000:]}")

    def publish(self, name: str, folder: Path):
        """Puts a folder's files on the Hub as a public model."""
        repo = self.hub.repos[f"models/{name}"] = Repo(False, {}, {})
        repo.commit("main", {path.name: path.read_bytes() for path in folder.iterdir()})

    def memory(self) -> int:
        """The resident memory of the server in bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """The processor time that the server has used, of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)
        self.hub.__exit__()
        self.folder.cleanup()


def save_model(folder: Path, names: list[str] = NAMES, seed: int = 0):
    """A tiny model with weights at random, large enough that its maps have several classes."""
    torch.manual_seed(seed)
    config = RSSSegformerConfig(id2label=dict(enumerate(names)), initializer_range=0.5, **TINY)
    RSSSegformerForSemanticSegmentation(config).save_pretrained(folder)
    SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def save_hostile(folder: Path, config: dict, processor: dict | None = None):
    """[`save_model`] with settings of its config.json and preprocessor_config.json replaced by others."""
    save_model(folder)
    for name, changed in (("config.json", config), ("preprocessor_config.json", processor or {})):
        settings = json.loads((folder / name).read_text()) | changed
        (folder / name).write_text(json.dumps(settings))


def save_encoder(folder: Path):
    """A tiny model that was not trained to segment."""
    SegformerForImageClassification(RSSSegformerConfig(**TINY)).save_pretrained(folder)
    SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


@functools.cache
def model_folder() -> Path:
    """The folder `tiny` of the model that [`server`] serves."""
    parent = tempfile.TemporaryDirectory()
    atexit.register(parent.cleanup)
    save_model(Path(parent.name) / "tiny")
    return Path(parent.name) / "tiny"


@functools.cache
def server() -> Server:
    """One for all tests of a process."""
    return Server(model_folder())


def photo(seed: int = 0, size: tuple[int, int] = (60, 44)) -> Image.Image:
    """Blotches of colour, of `size` = (width, height)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def predict(model: str | Path, images: Path, folder: Path, *options: str):
    """Writes the masks of an image or a folder of images into `folder`, by scripts/predict.py."""
    command = [sys.executable, "scripts/predict.py", "--model", str(model), "--input", str(images)]
    command += ["--output_dir", str(folder), *options]
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT, cwd=ROOT)
