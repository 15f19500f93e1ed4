"""What judges of one map at a time share: they are asked no map twice, and answers are kept before they are used."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import PIL.Image
import torch

from ..feedback import Answer, FeedbackStore, digest
from ..feedback.records import as_png


@dataclass(frozen=True)
class Question:
    """
    What a judge is shown.

    Attributes:
        map (`np.ndarray` of shape `(H, W)`): uint8 class ids.
        image (`PIL.Image.Image`, *optional*): RGB, H x W.
        row (`dict[str, Any]`): the columns of the image.
    """

    map: np.ndarray
    image: PIL.Image.Image | None
    row: dict[str, Any]


class Judge:
    """
    A reward that scores each map by itself. A subclass says how in [`~Judge.ask`].

    Attributes:
        __name__ (`str`): that the reward is logged under.
        store ([`~rss_hf.feedback.FeedbackStore`], *optional*): keeps answers; the trainer sets it where it is None.
        asked (`int`): maps that were asked about, not those whose answers were in the store.
    """

    sees_images = True

    def __init__(self, name: str):
        self.__name__ = name
        self.store: FeedbackStore | None = None
        self.asked = 0

    def ask(self, questions: list[Question]) -> Iterator[tuple[int, float | None]]:
        """The number of a question and its score, in any order, as answers come; None where there is none."""
        raise NotImplementedError

    def row(self, columns: dict[str, Any], index: int) -> dict[str, Any]:
        """The columns of a map that the judge is shown."""
        return {name: plain(column[index]) for name, column in columns.items()}

    def __call__(
        self, predictions: torch.Tensor, images: list[PIL.Image.Image] | None = None, **columns: Any
    ) -> list[float | None]:
        """The scores of N maps (N, H, W): those in the store, and the answers to what is asked."""
        columns = {name: column for name, column in columns.items() if name not in ("references", "trainer_state")}
        maps = predictions.to(torch.uint8).cpu().numpy()
        shown = images if self.sees_images and images is not None else [None] * len(maps)
        questions = [Question(*pair, self.row(columns, i)) for i, pair in enumerate(zip(maps, shown, strict=True))]
        digests = {id(image): digest(image.tobytes()) for image in shown if image is not None}
        keys = [self._key(question, digests.get(id(question.image), "")) for question in questions]
        scores = {key: self.store[key] for key in set(keys) if self.store is not None and key in self.store}
        new = {key: question for key, question in zip(keys, questions, strict=True) if key not in scores}
        order = list(new)  # of equal maps one is asked about
        self.asked += len(order)
        for number, score in self.ask(list(new.values())):
            key = order[number]
            scores[key] = None if score is None else float(score)
            if self.store is not None:
                self.store.append([self._answer(key, new[key], digests, scores[key])])
        return [scores[key] for key in keys]

    def _key(self, question: Question, image: str) -> str:
        row = json.dumps(question.row, sort_keys=True, default=as_json)
        return digest(self.__name__, str(question.map.shape), question.map.tobytes(), image, row)

    def _answer(self, key: str, question: Question, digests: dict[int, str], score: float | None) -> Answer:
        image = str(question.row.get("id", digests.get(id(question.image), "")))
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return Answer(key, self.__name__, image, as_png(question.map), score, now)


def plain(value: Any) -> Any:
    """An entry of a column: a tensor as an array, a number as Python's own."""
    if isinstance(value, torch.Tensor):
        value = value.cpu().numpy()
    return value.item() if isinstance(value, np.ndarray | np.generic) and value.ndim == 0 else value


def as_json(value: Any) -> Any:
    """What JSON does not know, as it can hold it."""
    return value.tolist() if isinstance(value, np.ndarray) else str(value)
