"""The folder of uploads and answers stays within its bounds, and requests within theirs."""

import asyncio
import os

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import rss_hf.demo.uploads as uploads
from rss_hf.demo.uploads import MAX_FORM, MAX_QUESTION, Bounded, Folder


def fill(folder, count, size=10):
    """Files `0`, `1`, ... as Gradio lays them, the first written first."""
    paths = []
    for i in range(count):
        (folder / f"hash{i}").mkdir()
        paths.append(folder / f"hash{i}" / f"{i}.png")
        paths[-1].write_bytes(bytes(size))
        wait_for_clock(paths[-1])
    return paths


def wait_for_clock(path):
    """Until a file written next is younger: file systems have clocks of some milliseconds."""
    while True:
        os.utime(path.parent)
        if os.stat(path.parent).st_ctime_ns > os.stat(path).st_ctime_ns:
            return


@pytest.mark.parametrize(
    ("bounds", "coming", "kept"),
    [
        ({}, 0, range(6)),
        ({"max_bytes": 60}, 0, range(6)),
        ({"max_bytes": 59}, 0, range(1, 6)),
        ({"max_bytes": 60}, 25, range(3, 6)),
        ({"max_bytes": 60}, 100, []),
        ({"max_files": 2}, 0, range(4, 6)),
        ({"max_age": -1}, 0, []),
    ],
    ids=str,
)
def test_those_used_longest_ago_are_deleted_first(tmp_path, bounds, coming, kept):
    (tmp_path / "example.png").write_bytes(bytes(1000))
    known = [set(), set()]
    folder = Folder(tmp_path, known, **bounds)
    paths = fill(tmp_path, 6)
    known[0].update(map(str, paths))
    folder.tidy(coming)
    assert [path.exists() for path in paths] == [i in kept for i in range(6)]
    assert [path.parent.exists() for path in paths] == [i in kept for i in range(6)]
    assert known[0] == {str(path) for path in paths if path.exists()}
    assert (tmp_path / "example.png").exists(), "the page's own files are kept"


def test_a_file_that_is_used_is_young_again(tmp_path, monkeypatch):
    from rss_hf.demo.components import uploaded

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    folder = Folder(tmp_path, max_files=1)
    paths = fill(tmp_path, 3)
    assert uploaded({"path": str(paths[0])}, "an image") == str(paths[0])
    folder.tidy()
    assert [path.exists() for path in paths] == [True, False, False]


def test_uploads_that_nobody_asks_about_do_not_add_up(tmp_path):
    folder = Folder(tmp_path, max_bytes=100)
    for i in range(20):
        folder.tidy_often((1 << 20) + 1 if i else 0)  # announced larger than it is: looked at each time
        (tmp_path / f"{i}.png").write_bytes(bytes(30))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 100


async def echo(request):
    await asyncio.sleep(float(request.query_params.get("seconds", 0)))
    return PlainTextResponse(str(len(await request.body())))


def ask(folder, *requests):
    """The (status, text) of each request, sent at once to an application within the bounds."""
    app = Bounded(Starlette(routes=[Route("/{path:path}", echo, methods=["POST", "GET"])]), folder)

    async def send_all():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page") as client:
            answers = await asyncio.gather(*(client.request(**request) for request in requests))
        return [(answer.status_code, answer.text) for answer in answers]

    return asyncio.run(send_all())


async def pieces(count, size=2**16):
    for _ in range(count):
        yield bytes(size)


@pytest.mark.parametrize(
    ("url", "content", "status"),
    [
        ("/gradio_api/queue/join", bytes(1000), 200),
        ("/gradio_api/queue/join", bytes(MAX_QUESTION + 1), 413),
        ("/gradio_api/call/segment", bytes(MAX_QUESTION + 1), 413),
        ("/gradio_api/upload", bytes(MAX_FORM), 200),
        ("/gradio_api/upload", bytes(MAX_FORM + 1), 413),
        ("/gradio_api/upload", 100, 200),  # pieces of 64 KiB without an announced length
        ("/gradio_api/upload", 400, 413),
        ("/gradio_api/queue/join", 20, 413),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_requests_have_a_length(tmp_path, url, content, status):
    content = pieces(content) if isinstance(content, int) else content
    [(answer, _)] = ask(Folder(tmp_path), {"method": "POST", "url": url, "content": content})
    assert answer == status


def test_odd_lengths_are_refused(tmp_path):
    for length in ("-1", "x", "9" * 5000):
        request = {"method": "POST", "url": "/upload", "headers": {"content-length": length}, "content": b""}
        assert ask(Folder(tmp_path), request)[0][0] == 413


def test_few_files_are_uploaded_at_once_and_none_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_UPLOADS", 3)
    upload = {"method": "POST", "url": "/gradio_api/upload?seconds=0.3", "content": b"x"}
    answers = ask(Folder(tmp_path), *[upload] * 5, {"method": "POST", "url": "/call", "content": b"xy"})
    assert sorted(answers[:5])[:3] == [(200, "1")] * 3 and {status for status, _ in answers[:5]} == {200, 503}
    assert answers[5] == (200, "2")


def test_no_request_is_sent_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_SECONDS", 0.1)

    app = Bounded(Starlette(routes=[Route("/upload", echo, methods=["POST"])]), Folder(tmp_path))
    sent = []

    async def receive():
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/upload", "headers": [], "query_string": b""}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 408
