"""
Whether the demo loses or mixes up answers while many clients send it hostile models, files, sizes and values, into
benchmarks/records/demo.jsonl.

    taskset -c 0 python benchmarks/stress_demo.py --model outputs/shapes

Serves the model on 127.0.0.1 in a process of its own, by `spaces_app/app.py` as it is, with a Hub on 127.0.0.1.
"""

import json
import logging
import os
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import httpx
import numpy as np
import torch
from PIL import Image


sys.path.append(str(Path(__file__).parents[1] / "tests"))

from helpers.demo_files import hostile_files, odd_files  # noqa: E402
from helpers.demo_server import Server, photo, save_hostile, save_model  # noqa: E402
from record import append_record, provenance, records_of  # noqa: E402
from transformers import SegformerImageProcessor  # noqa: E402

from rss_hf import RSSSegformerConfig, RSSSegformerForSemanticSegmentation  # noqa: E402
from rss_hf.cli.arguments import parse_args  # noqa: E402
from rss_hf.demo.images import MAX_BYTES, open_photo  # noqa: E402
from rss_hf.demo.models import Loaded, load  # noqa: E402
from rss_hf.demo.segment import segment  # noqa: E402


MAX_REQUESTS, TIMEOUT = 50_000, 180
# Sentences that are right for any request at such times.
LATER = ("busy with the images of others", "model is being loaded", "Many files are being uploaded", "Queue is full")
LATER += ("was stopped after 60 s",)
ODD_VALUES = (None, True, -1, 2.5, 1e308, 10**300, "", "x", "\0", "a" * 5000, [], [[1]], {}, {"path": 5})
HOSTILE = {  # settings of config.json and of preprocessor_config.json, and what is said of them
    "strides": ({"strides": [1] * 4}, {"size": {"height": 512, "width": 512}}, "A pass of the model .* takes more"),
    "input": ({}, {"size": {"height": 30_000, "width": 30_000}}, "Preparing this image for the model takes more"),
    "layers": ({"depths": [9000, 1, 1, 1]}, {}, "more than 5000 layers"),
    "classes": ({"num_labels": 10**9}, {}, "has 'num_labels' above"),
    "wide": ({"decoder_hidden_size": 30_000}, {}, "million parameters, too many"),
    "other": ({"backbone": "org/other"}, {}, "asks by 'backbone' for another model"),
}
logger = logging.getLogger("stress_demo")


@dataclass
class StressArguments:
    """What to stress, and for how long."""

    _argument_group_name = "Stress"

    model: str = field(metadata={"help": "Folder of a trained model."})
    seconds: int = field(default=300, metadata={"help": "How long requests are begun."})
    clients: int = field(default=16, metadata={"help": "How many ask at once."})


@dataclass
class Case:
    """
    Attributes:
        kind (`str`): for the counts.
        ask (`Callable`): client, random numbers -> what came: a mask (H, W), or a sentence.
        expected (`np.ndarray` or `str`): the mask, or a pattern of the sentence.
    """

    kind: str
    ask: Callable[[httpx.Client, random.Random], np.ndarray | str]
    expected: np.ndarray | str


def main():
    (args,) = parse_args(StressArguments, description=__doc__)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    logger.setLevel(logging.INFO)
    torch.set_num_threads(1)  # as the server, whose numbers are to be met
    about = {"command": "taskset -c 0 python benchmarks/stress_demo.py --model FOLDER"} | provenance()
    about["versions"] |= {name: version(name) for name in ("gradio", "pillow")}
    about["load_average_before"] = os.getloadavg()[0]
    server, model = Server(Path(args.model).resolve()), load(args.model, local=True, trusted=True)
    with tempfile.TemporaryDirectory() as folder:
        kinds = (images, files, models, values, uploads)
        cases = [case for make in kinds for case in make(server, model, Path(folder))]
        figures = stress(server, cases, args.clients, args.seconds)
    logger.info(json.dumps(figures, indent=1))
    append_record(records_of("demo"), {"measure": "stress"} | about | figures)
    if figures["lost"] or figures["wrong"]:
        sys.exit(f"{len(figures['lost'])} answers were lost and {len(figures['wrong'])} were wrong.")


def call(client: httpx.Client, name: str, data: list) -> list | str:
    """What a function of the page returns, or the sentence with which it refuses."""
    event = client.post(f"/gradio_api/call/{name}", json={"data": data})
    if event.status_code != 200:
        event.raise_for_status() if event.status_code >= 500 else None
        return event.text
    lines = client.get(f"/gradio_api/call/{name}/{event.json()['event_id']}").raise_for_status().text
    kind, _, content = lines.rpartition("event: ")[2].partition("\n")
    answer = json.loads(content.strip().removeprefix("data: "))
    return answer if kind.strip() == "complete" else str(answer and answer["error"])


def upload(client: httpx.Client, name: str, content: bytes) -> dict | str:
    answer = client.post("/gradio_api/upload", files={"files": (name, content)})
    return {"path": answer.raise_for_status().json()[0]} if answer.status_code not in (413, 503) else answer.text


def ask(name: str, content: bytes, *options) -> Callable[[httpx.Client, random.Random], np.ndarray | str]:
    """Uploads a file, has it segmented with the options and fetches the mask."""

    def work(client: httpx.Client, numbers: random.Random) -> np.ndarray | str:
        file = upload(client, name, content)
        answer = call(client, "segment", [file, *options]) if isinstance(file, dict) else file
        if isinstance(answer, str):
            return answer
        mask = client.get(answer[0]["url"]).raise_for_status().content
        path = Path(tempfile.gettempdir()) / f"stress-{threading.get_ident()}.png"
        path.write_bytes(mask)
        with Image.open(path) as image:
            return np.asarray(image)

    return work


def images(server: Server, model: Loaded, folder: Path) -> list[Case]:
    """Usual ones, of several sizes, with and without a window and the mirror image."""
    cases = []
    for i, size in enumerate([(60 + i, 44 - i) for i in range(12)] + [(640, 480), (1500, 1000), (30, 1400)]):
        photo(i, size).save(folder / "image.png")
        options = (32 * (i % 3 == 0), i % 2 == 0)
        expected = segment(model, photo(i, size), *options).mask
        cases.append(Case("image", ask(f"{i}.png", (folder / "image.png").read_bytes(), "", *options), expected))
    photo(0, (4000, 4000)).save(folder / "image.jpg")
    expected = segment(model, open_photo(str(folder / "image.jpg"))).mask
    large = [Case("16 million pixels", ask("large.jpg", (folder / "image.jpg").read_bytes(), "", 0, False), expected)]
    return cases * 6 + large


def files(server: Server, model: Loaded, folder: Path) -> list[Case]:
    """Odd files, whose masks are known, and hostile ones."""
    cases = []
    for name, (content, pixels) in odd_files().items():
        if name != "cmyk.jpg":  # decoders differ a little
            mask = segment(model, Image.fromarray(np.ascontiguousarray(pixels))).mask
            cases.append(Case("odd file", ask(name, content, "", 0, False), mask))
    for name, (content, sentence) in hostile_files().items():
        said = f"{sentence}|exceeded maximum allowed size|Up to 20 MiB|maximum"
        cases.append(Case("hostile file", ask(name, content, "", 0, False), said))
    return cases


def models(server: Server, model: Loaded, folder: Path) -> list[Case]:
    """Of others, small and slow, and such as make much work of small files."""
    cases, (content, pixels) = [], odd_files()["plain.png"]
    plain = Image.fromarray(pixels)
    slow = {"hidden_sizes": [64, 128, 320, 512], "num_attention_heads": [1, 2, 5, 8], "depths": [3, 4, 6, 3]}
    save_model(folder / "good", names=["sky", "road"], seed=1)
    save_large(folder / "slow", slow | {"decoder_hidden_size": 256}, {"size": {"height": 512, "width": 512}})
    for name in ("good", "slow"):
        expected = segment(load(str(folder / name), local=True, trusted=True), plain).mask
        server.publish(f"org/{name}", folder / name)
        case = Case(f"{name} model", ask("a.png", content, f"org/{name}", 0, False), expected)
        cases += [case] * {"good": 8, "slow": 2}[name]
    for name, (config, processor, sentence) in HOSTILE.items():
        save_hostile(folder / name, config, processor)
        server.publish(f"org/{name}", folder / name)
        cases += [Case("hostile model", ask("a.png", content, f"org/{name}", 0, False), sentence)] * 2
    return cases


def values(server: Server, model: Loaded, folder: Path) -> list[Case]:
    """Values of other types than are asked for, in both functions of the API."""
    content = odd_files()["plain.png"][0]

    def odd(client: httpx.Client, numbers: random.Random) -> str:
        file = upload(client, "a.png", content)
        name, data = numbers.choice(
            [("segment", [file, "", 0, False]), ("sample", [file, file, "", 4, 4, "mean_iou", "leave_one_out", 0])]
        )
        data[numbers.randrange(len(data))] = numbers.choice(ODD_VALUES)
        answer = call(client, name, data)
        return answer if isinstance(answer, str) else "answered"

    def many(client: httpx.Client, numbers: random.Random) -> str:
        return call(client, "segment", ["x" * (2 << 20)])

    right = r"^(?!.*went wrong).*\.$|^answered$"
    return [Case("odd value", odd, right)] * 20 + [Case("long request", many, "Up to 1 MiB")]


def uploads(server: Server, model: Loaded, folder: Path) -> list[Case]:
    """Files that nobody asks about, each another."""

    def flood(client: httpx.Client, numbers: random.Random) -> str:
        file = upload(client, "a.png", numbers.randbytes(10 << 20))
        return "uploaded" if isinstance(file, dict) else file

    def too_large(client: httpx.Client, numbers: random.Random) -> str:
        return str(upload(client, "a.png", bytes(MAX_BYTES + (1 << 18))))

    return [Case("upload alone", flood, "^uploaded$")] * 8 + [Case("too large", too_large, "Up to 20 MiB")]


def save_large(folder: Path, config: dict, processor: dict):
    """A model of other sizes than the tiny one, with weights of these sizes."""
    RSSSegformerForSemanticSegmentation(RSSSegformerConfig(num_labels=3, **config)).save_pretrained(folder)
    SegformerImageProcessor(**processor).save_pretrained(folder)


def stress(server: Server, cases: list[Case], clients: int, seconds: int) -> dict:
    """Sends the cases at random from all clients at once, and counts."""
    end, lock, numbers = time.monotonic() + seconds, threading.Lock(), iter(range(MAX_REQUESTS))
    counts, later, slowest, lost, wrong = Counter(), Counter(), {}, [], []
    memory, stored, finished = [server.memory() >> 20], [0], threading.Event()

    def work(seed: int):
        chance = random.Random(seed)
        with httpx.Client(base_url=server.url, timeout=TIMEOUT) as client:
            while time.monotonic() < end and next(numbers, None) is not None:
                case, start = chance.choice(cases), time.monotonic()
                try:
                    outcome = judge(case, case.ask(client, chance))
                except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError) as error:
                    outcome = f"lost: {type(error).__name__}: {error}"
                with lock:
                    counts[case.kind] += 1
                    slowest[case.kind] = max(slowest.get(case.kind, 0), round(time.monotonic() - start, 1))
                    later[case.kind] += outcome == "later"
                    if outcome not in ("", "later"):
                        (lost if outcome.startswith("lost") else wrong).append(f"{case.kind}: {outcome}"[:300])

    def watch():
        while not finished.wait(0.5):
            memory.append(server.memory() >> 20)
            stored.append(folder_size(Path(server.folder.name)) >> 20)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(clients)]
    watcher = threading.Thread(target=watch)
    for thread in (watcher, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    duration = time.monotonic() - end + seconds
    finished.set()
    watcher.join()
    return {
        "clients": clients,
        "seconds": round(duration),
        "requests": sum(counts.values()),
        "requests_by_kind": dict(counts),
        "told_to_come_back": dict(+later),
        "lost": lost,
        "wrong": wrong,
        "slowest_seconds": max(slowest.values()),
        "slowest_seconds_by_kind": slowest,
        "server_memory_mib": {"start": memory[0], "end": server.memory() >> 20, "peak": max(memory)},
        "files_mib_peak": max(stored),
        "alive": server.process.poll() is None,
    }


def judge(case: Case, came: np.ndarray | str) -> str:
    """What is wrong with an answer, "later" if it says so, or nothing."""
    if isinstance(came, str):
        if isinstance(case.expected, str) and re.search(case.expected, came, re.DOTALL):
            return ""
        return "later" if any(sentence in came for sentence in LATER) else f"said {came!r}"
    if isinstance(case.expected, str):
        return f"a mask of {came.shape}, and not {case.expected!r}"
    return "" if np.array_equal(came, case.expected) else f"another mask, of {came.shape}"


def folder_size(folder: Path) -> int:
    """The bytes of the files that the page keeps."""
    total = 0
    for path, _, names in os.walk(next(folder.glob("rss_hf-files-*"))):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total


if __name__ == "__main__":
    main()
