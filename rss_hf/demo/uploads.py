"""The folder of uploads and answers: bounded in bytes, files and age, whatever is sent."""

import asyncio
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from .images import MAX_BYTES


MAX_FOLDER = 1 << 30  # bytes
MAX_FILES = 4000
MAX_AGE = 900  # seconds without being used
MAX_QUESTION = 1 << 20  # bytes of a request that is no upload
MAX_FORM = MAX_BYTES + (1 << 16)  # bytes of an upload: a file, and what a form says of it
MAX_UPLOADS = 16  # at once
MAX_SECONDS = 120  # in which a request is sent
TOO_LONG = "Up to {} MiB are accepted, one file at a time."


class Folder:
    """
    Where Gradio keeps uploads and answers. The files that are used longest ago are deleted first.

    Args:
        path (`Path`): the folder.
        known (`Iterable[set[str]]`): Gradio's own lists of the files, out of which it never takes one itself.
        max_bytes (`int`), max_files (`int`), max_age (`float`, seconds): what is kept.
    """

    def __init__(
        self,
        path: Path,
        known: Iterable[set[str]] = (),
        max_bytes: int = MAX_FOLDER,
        max_files: int = MAX_FILES,
        max_age: float = MAX_AGE,
    ):
        self.path, self.known = path, known
        self.max_bytes, self.max_files, self.max_age = max_bytes, max_files, max_age
        self.kept = {place for place, _ in self._files()}  # the page's own: its examples
        self._lock = threading.Lock()
        self._tidied = 0.0

    def _files(self) -> Iterable[tuple[str, os.stat_result]]:
        for folder, _, names in os.walk(self.path):
            for name in names:
                place = os.path.join(folder, name)
                try:
                    yield place, os.lstat(place)
                except FileNotFoundError:
                    continue  # an upload that was moved to its place meanwhile

    def tidy(self, coming: int = 0):
        """Deletes what is too old or too much, if `coming` bytes are to be written."""
        with self._lock:
            files = [
                (about.st_ctime, about.st_size, place) for place, about in self._files() if place not in self.kept
            ]
            total, count, now = sum(size for _, size, _ in files) + coming, len(files), time.time()
            for changed, size, place in sorted(files):
                if now - changed < self.max_age and total <= self.max_bytes and count <= self.max_files:
                    break
                self._delete(place)
                total, count = total - size, count - 1
            self._tidied = time.monotonic()

    def tidy_often(self, coming: int):
        """[`Folder.tidy`], but for small requests not more than once a second: it reads the whole folder."""
        if coming > 1 << 20 or time.monotonic() - self._tidied > 1:
            self.tidy(coming)

    def tidy_for_ever(self, seconds: float = 60):
        """Starts a thread that deletes what is too old while nobody asks."""

        def work():
            while True:
                time.sleep(seconds)
                self.tidy()

        threading.Thread(target=work, daemon=True, name="tidy uploads").start()

    def _delete(self, place: str):
        Path(place).unlink(missing_ok=True)
        for files in self.known:
            files.discard(place)
        try:
            if Path(place).parent != self.path:
                Path(place).parent.rmdir()
        except OSError:
            return  # other files are in it


class Bounded:
    """
    ASGI middleware: no request is longer than it may be, few files are uploaded at once, and there is room for them.

    Args:
        app: the ASGI application.
        folder ([`Folder`]): where it keeps files.
    """

    def __init__(self, app, folder: Folder):
        self.app, self.folder, self.uploads = app, folder, 0

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT", "PATCH"):
            return await self.app(scope, receive, send)
        is_upload = scope["path"].endswith("/upload")
        limit = MAX_FORM if is_upload else MAX_QUESTION
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        length = int(declared) if declared.isdigit() and len(declared) < 20 else limit + 1
        if length > limit:
            return await refuse(413, TOO_LONG.format(limit >> 20), scope, receive, send)
        if is_upload and self.uploads >= MAX_UPLOADS:
            return await refuse(503, "Many files are being uploaded. Try again in a minute.", scope, receive, send)
        read, until = 0, asyncio.get_running_loop().time() + MAX_SECONDS

        async def receive_within():
            nonlocal read
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(408, f"A request is to be sent within {MAX_SECONDS} s.") from error
            read += len(message.get("body", b""))
            if read > limit:
                raise HTTPException(413, TOO_LONG.format(limit >> 20))
            return message

        self.uploads += is_upload
        try:
            await run_sync(self.folder.tidy_often, length if is_upload else 0)
            await self.app(scope, receive_within, send)
        finally:
            self.uploads -= is_upload


async def refuse(status: int, sentence: str, scope, receive, send):
    await PlainTextResponse(sentence, status_code=status, headers={"connection": "close"})(scope, receive, send)
