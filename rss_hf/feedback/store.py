"""Where answers are kept: a folder of files of lines, to which each process appends its own."""

import logging
import os
import threading
import uuid
from collections.abc import Iterable
from pathlib import Path

from .records import Answer


logger = logging.getLogger(__name__)


class FeedbackStore:
    """
    All answers in a folder, those of earlier runs included. An answer is on disk when [`~FeedbackStore.append`]
    returns. Files are only appended to, each by one process; a last line that was cut off is passed over.

    Args:
        folder (`str` or `Path`): made with the first answer.

    Raises:
        ValueError: if a file holds a line that is no answer and not its last.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._scores: dict[str, float | None] = {}
        self._lock = threading.Lock()
        self._file = None
        for path in sorted(self.folder.glob("*.jsonl")):
            self._read(path)

    def __len__(self) -> int:
        return len(self._scores)

    def __contains__(self, key: str) -> bool:
        return key in self._scores

    def __getitem__(self, key: str) -> float | None:
        """The score that was given; KeyError if there is no answer."""
        return self._scores[key]

    def append(self, answers: Iterable[Answer]) -> None:
        """Writes answers to disk, and waits until they are there. May be called by several threads."""
        with self._lock:
            if self._file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._file = (self.folder / f"{uuid.uuid4().hex}.jsonl").open("a", encoding="utf-8")
            answers = list(answers)
            self._file.write("".join(answer.to_line() for answer in answers))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._scores |= {answer.key: answer.score for answer in answers}

    def _read(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        for number, line in enumerate(lines, 1):
            try:
                answer = Answer.from_line(line) if line else None
            except (ValueError, TypeError) as error:
                if number < len(lines):
                    raise ValueError(f"{path}, line {number}, is no answer of a judge: {error}. Remove it.") from error
                logger.warning(f"{path} ends within an answer, which is asked for again.")
                continue
            if answer is not None:
                self._scores[answer.key] = answer.score
