"""
Measures what docs/reliability.md says of the demo, into benchmarks/records/demo.jsonl, and takes pictures of the page.

    python benchmarks/measure_demo.py --model outputs/shapes --pictures outputs/demo_pictures

Serves the model on 127.0.0.1 in a process of its own, by `spaces_app/app.py` as it is.
"""

import json
import logging
import os
import re
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import httpx
import numpy as np
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image


sys.path.append(str(Path(__file__).parents[1] / "tests"))

from helpers.demo_files import is_seen, write_all  # noqa: E402
from helpers.demo_server import Server  # noqa: E402
from record import append_record, provenance, records_of  # noqa: E402

from rss_hf.cli.arguments import parse_args  # noqa: E402
from rss_hf.data import load_shapes  # noqa: E402
from rss_hf.demo.images import open_photo  # noqa: E402
from rss_hf.demo.models import load  # noqa: E402
from rss_hf.demo.segment import model_input, segment  # noqa: E402


CLIENTS, REQUESTS, SOAK_ROUNDS, FILE_ROUNDS = 16, 500, 7, 5
logger = logging.getLogger("measure_demo")


@dataclass
class MeasureArguments:
    """What to measure with."""

    _argument_group_name = "Measurement"

    model: str = field(metadata={"help": "Folder of a trained model."})
    pictures: str = field(metadata={"help": "Folder for the pictures of the page; made if it is not there."})


def main():
    (args,) = parse_args(MeasureArguments, description=__doc__)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    logger.setLevel(logging.INFO)
    model, pictures = Path(args.model).resolve(), Path(args.pictures).resolve()
    about = {"command": "python benchmarks/measure_demo.py --model FOLDER --pictures FOLDER"} | provenance()
    about["versions"] |= {name: version(name) for name in ("gradio", "pillow")}
    about["load_average_before"] = os.getloadavg()[0]
    server = Server(model)
    with tempfile.TemporaryDirectory() as folder:
        for measure in (bare_model, many_clients, files):
            figures = measure(server, model, Path(folder))
            logger.info("%s: %s", measure.__name__, json.dumps(figures, indent=1))
            append_record(records_of("demo"), {"measure": measure.__name__} | about | figures)
    take_pictures(server, pictures)


def save_images(folder: Path) -> list[Path]:
    """20 drawn images as files."""
    paths = [folder / f"{i}.png" for i in range(20)]
    for path, row in zip(paths, load_shapes(num_train=0, num_validation=len(paths))["validation"], strict=True):
        row["image"].save(path)
    return paths


def milliseconds(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    return {"p50_ms": round(1000 * cuts[9], 1), "p95_ms": round(1000 * cuts[18], 1)}


def timed(function: Callable, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def bare_model(server: Server, model: Path, folder: Path) -> dict:
    """The model alone in a process with one thread: its forward pass, and all from the file to the mask."""
    import torch

    torch.set_num_threads(1)
    loaded, images = load(str(model), local=True, trusted=True), save_images(folder)
    forward, whole = [], []
    for path in images * 10:
        pixel_values = model_input(loaded, open_photo(str(path)))
        with torch.no_grad():
            forward.append(timed(loaded.model, pixel_values))
        whole.append(timed(lambda path=path: segment(loaded, open_photo(str(path)))))
    return {"forward": milliseconds(forward[20:]), "file_to_mask": milliseconds(whole[20:])}


def many_clients(server: Server, model: Path, folder: Path) -> dict:
    """Answers lost and wrong, and their times, when many clients ask at once; the memory as more of them come."""
    images = save_images(folder)
    single = httpx.Client(base_url=server.url, timeout=120)
    expected = {path: ask(single, path) for path in images}
    alone = [timed(ask, single, path) for path in images * 3]
    with_gradio_client(server, expected, folder)
    cpu, start = server.cpu_seconds(), time.perf_counter()
    seconds, lost, wrong = ask_at_once(server, expected)
    duration, cpu = time.perf_counter() - start, server.cpu_seconds() - cpu
    memory = [server.memory() >> 20]
    for _ in range(SOAK_ROUNDS):
        for faults, more in zip((lost, wrong), ask_at_once(server, expected)[1:], strict=True):
            faults += more
        memory.append(server.memory() >> 20)
    return {
        "clients": CLIENTS,
        "requests": REQUESTS,
        "answered": len(seconds),
        "requests_per_second": round(len(seconds) / duration, 1),
        **milliseconds(seconds),
        "one_client_alone": milliseconds(alone),
        "server_cpu_ms_per_request": round(1000 * cpu / REQUESTS, 1),
        "lost_of_all": lost,
        "wrong_of_all": wrong,
        f"server_memory_mib_after_each_{REQUESTS}": memory,
    }


def ask_at_once(server: Server, expected: dict[Path, tuple]) -> tuple[list[float], list[str], list[int]]:
    """`REQUESTS` of `CLIENTS`: the seconds of those answered, the errors of those lost, the numbers of those wrong."""
    clients, images = [httpx.Client(base_url=server.url, timeout=120) for _ in range(CLIENTS)], list(expected)
    numbers, lock, seconds, lost, wrong = iter(range(REQUESTS)), threading.Lock(), [], [], []

    def work(client: httpx.Client):
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            path, start = images[number % len(images)], time.perf_counter()
            try:
                answer = ask(client, path)
            except Exception as error:
                lost.append(f"{type(error).__name__}: {error}")
                continue
            seconds.append(time.perf_counter() - start)
            if answer != expected[path]:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds, lost, wrong


def ask(client: httpx.Client, path: Path) -> tuple[bytes, list[dict]]:
    """
    The mask file's content and the areas that /segment gives for an image, by the four requests that it takes: the
    upload, the call, its answer, the file. gradio_client sends the same but needs several times the server's time.
    """
    [place] = client.post("/gradio_api/upload", files={"files": (path.name, path.read_bytes())}).json()
    image = {"path": place, "meta": {"_type": "gradio.FileData"}}
    call = client.post("/gradio_api/call/segment", json={"data": [image, "", 0, False]}).json()
    answer = client.get(f"/gradio_api/call/segment/{call['event_id']}").text
    if not answer.startswith("event: complete"):
        raise RuntimeError(answer)
    mask, areas = json.loads(answer.split("data: ", 1)[1])
    return client.get(mask["url"]).raise_for_status().content, areas


def with_gradio_client(server: Server, expected: dict[Path, tuple[bytes, list[dict]]], folder: Path):
    """Makes sure that gradio_client gets the same answers."""
    client = Client(server.url, verbose=False, download_files=str(folder))
    for path, answer in expected.items():
        mask, areas = client.predict(handle_file(path), api_name="/segment")
        assert (Path(mask).read_bytes(), areas) == answer, path


def files(server: Server, model: Path, folder: Path) -> dict:
    """Odd and hostile files, several times over: which are not answered as they should be, and the memory after."""
    loaded = load(str(model), local=True, trusted=True)
    client = Client(server.url, verbose=False, download_files=str(folder))
    (folder / "files").mkdir()
    cases, memory, failures = write_all(folder / "files"), [], []
    for _ in range(FILE_ROUNDS):
        failures += [path.name for path, expected in cases if not is_as_expected(client, loaded, path, expected)]
        memory.append(server.memory() >> 20)
    return {
        "files": len(cases),
        "shown": sum(not isinstance(expected, str) for _, expected in cases),
        "refused": sum(isinstance(expected, str) for _, expected in cases),
        "rounds": FILE_ROUNDS,
        "not_as_they_should_be": failures,
        "server_memory_mib_after_each_round": memory,
        "alive": server.process.poll() is None and is_as_expected(client, loaded, *cases[0]),
    }


def is_as_expected(client: Client, loaded, path: Path, expected: np.ndarray | str) -> bool:
    """Whether a file is refused with its sentence, or its mask is that of the pixels to be seen."""
    try:
        mask, _ = client.predict(handle_file(path), api_name="/segment")
    except AppError as error:
        return isinstance(expected, str) and re.search(expected, str(error)) is not None
    except ValueError as error:  # gradio_client measures files itself, by the limit that the server tells
        return "exceeds the maximum file size" in str(error)
    if isinstance(expected, str):
        return False
    image = open_photo(str(path))
    seen = is_seen(np.asarray(image), expected, path.name)
    return seen and np.array_equal(Image.open(mask), segment(loaded, image).mask)


def take_pictures(server: Server, pictures: Path):
    """Both tabs of the page with an example, light and dark, and as wide as a phone."""
    from playwright.sync_api import sync_playwright

    pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            headless=True,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        for theme, width in (("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)):
            context = browser.new_context(viewport={"width": width, "height": 900}, is_mobile=width < 500)
            page = context.new_page()
            page.set_default_timeout(60_000)
            page.goto(f"{server.url}?__theme={theme}")
            page.wait_for_function("document.querySelector('#about')?.innerText.includes('parameters')")
            page.locator(".gallery-item").nth(1).click()
            page.wait_for_selector("#overlay .legend-item")
            settle(page)
            page.screenshot(path=pictures / f"segment-{theme}-{width}.png", full_page=True)
            page.get_by_role("tab", name="How it learns").click()
            page.locator(".tr-body").nth(1).click()
            page.wait_for_selector("#reference img")
            page.click("#draw")
            page.wait_for_selector("#maps .caption-label")
            settle(page)
            page.screenshot(path=pictures / f"learn-{theme}-{width}.png", full_page=True)
            context.close()
        browser.close()
    logger.info("The pictures are in %s.", pictures)


def settle(page):
    """Waits until no picture is being loaded."""
    page.wait_for_load_state("load")
    page.wait_for_timeout(2000)
    page.wait_for_function("[...document.images].every(image => image.complete)")


if __name__ == "__main__":
    main()
