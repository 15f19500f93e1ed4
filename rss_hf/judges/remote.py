"""A judge behind a URL: maps as PNGs go there, scores come back."""

import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import urllib3
from urllib3.util import Retry, parse_url

from ..feedback.records import as_png
from .judge import Judge, Question, as_json


RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)
LONGEST_PAUSE = 8  # seconds between two tries


class RemoteReward(Judge):
    """
    A reward of a server. Requests are POSTs of JSON:

    `{"images": [PNG, ...], "maps": [{"image": 0, "map": PNG, "row": {...}}, ...]}`

    PNGs are in base64; a map's pixels are class ids; `image` is the place of its image in `images`. The answer is
    `{"scores": [0.5, null, ...]}`, a number for each map, or null where there is none. Errors of the network and of
    the server are tried again, with pauses that grow to eight seconds.

    Args:
        url (`str`): http or https.
        name (`str`, *optional*, defaults to the URL's last part): that the reward is logged under.
        columns (`Sequence[str]`, *optional*): columns of the data that are sent with a map, beside `id`.
        send_images (`bool`, *optional*, defaults to `True`): send each image of a request, once.
        batch_size (`int`, *optional*, defaults to 32): maps of a request.
        workers (`int`, *optional*, defaults to 4): requests at once.
        timeout (`float`, *optional*, defaults to 60): seconds for the answer to a request.
        retries (`int`, *optional*, defaults to 5): further tries of a request.

    Raises:
        ValueError: for a URL that is none, or sizes below 1.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str | None = None,
        columns: Sequence[str] = (),
        send_images: bool = True,
        batch_size: int = 32,
        workers: int = 4,
        timeout: float = 60.0,
        retries: int = 5,
    ):
        parts = parse_url(url)
        if parts.scheme not in ("http", "https") or not parts.host:
            raise ValueError(f"{url!r} is no URL of a judge: it begins with http:// or https:// and a host.")
        if min(batch_size, workers) < 1 or timeout <= 0 or retries < 0:
            raise ValueError(f"{url}: batch_size, workers and timeout must be above 0, and retries at least 0.")
        super().__init__(name or (parts.path or "").strip("/").split("/")[-1] or parts.host)
        self.url, self.sent, self.sees_images = url, {"id", *columns}, send_images
        self.batch_size, self.workers, self.timeout, self.retries = batch_size, workers, timeout, retries
        tries = Retry(
            retries,
            status_forcelist=RETRIED_STATUS,
            allowed_methods=None,  # POST too
            backoff_factor=0.5,
            backoff_max=LONGEST_PAUSE,
            raise_on_status=False,
        )
        self._http = urllib3.PoolManager(maxsize=workers, retries=tries, timeout=timeout)

    def row(self, columns: dict[str, Any], index: int) -> dict[str, Any]:
        return super().row({name: column for name, column in columns.items() if name in self.sent}, index)

    def ask(self, questions: list[Question]) -> Iterator[tuple[int, float | None]]:
        starts = range(0, len(questions), self.batch_size)
        with ThreadPoolExecutor(self.workers) as pool:
            asked = {pool.submit(self._request, questions[i : i + self.batch_size]): i for i in starts}
            try:
                for done in as_completed(asked):
                    yield from enumerate(done.result(), asked[done])
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _request(self, questions: list[Question]) -> list[float | None]:
        images = {id(question.image): question.image for question in questions if question.image is not None}
        place = {key: i for i, key in enumerate(images)}
        maps = [{"image": place.get(id(q.image)), "map": as_png(q.map), "row": q.row} for q in questions]
        content = {"images": [as_png(image) for image in images.values()], "maps": maps}
        try:
            body = json.dumps(content, default=as_json)
            headers = {"Content-Type": "application/json"}
            response = self._http.request("POST", self.url, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise RuntimeError(self._failed(f"{type(error).__name__}: {error}")) from error
        if response.status >= 300:
            raise RuntimeError(self._failed(f"status {response.status} {response.reason}, {response.data[:80]!r}"))
        return self._scores(response.data, len(questions))

    def _failed(self, why: str) -> str:
        return (
            f"The judge at {self.url} did not answer, tried up to {self.retries + 1} times: {why}. The answers that "
            "came are kept: start the judge again and resume."
        )

    def _scores(self, body: bytes, count: int) -> list[float | None]:
        try:
            scores = json.loads(body)["scores"]
        except (ValueError, KeyError, TypeError) as error:
            raise RuntimeError(f'{self.url} answered {body[:80]!r}, not {{"scores": [...]}}.') from error
        if not isinstance(scores, list) or len(scores) != count:
            raise RuntimeError(
                f"{self.url} answered {str(scores)[:80]!r} for {count} maps: give a list of as many scores."
            )
        for score in scores:
            is_number = isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)
            if not (score is None or is_number):
                raise RuntimeError(f"{self.url} answered the score {score!r}: give finite numbers, or null.")
        return scores
