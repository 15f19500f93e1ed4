"""A judge of one map at a time as a reward."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import PIL.Image

from .judge import Judge, Question


class PerMap(Judge):
    """
    A reward of a function that scores one map.

    Args:
        function (`Callable[[PIL.Image.Image, np.ndarray, dict[str, Any]], float | None]`):
            Given the image (RGB, H x W), the class map (H, W) uint8 and the row, whose columns are by name; returns a
            score, the higher the better, or None where it has none.
        workers (`int`, *optional*, defaults to 1): maps that are judged at once, in threads.

    Raises:
        ValueError: if `workers` is below 1.
    """

    def __init__(
        self, function: Callable[[PIL.Image.Image, np.ndarray, dict[str, Any]], float | None], workers: int = 1
    ):
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}.")
        super().__init__(getattr(function, "__name__", type(function).__name__))
        self.function, self.workers = function, workers

    def ask(self, questions: list[Question]) -> Iterator[tuple[int, float | None]]:
        if self.workers == 1:
            yield from enumerate(map(self._judge, questions))
            return
        with ThreadPoolExecutor(self.workers) as pool:
            yield from enumerate(pool.map(self._judge, questions))

    def _judge(self, question: Question) -> float | None:
        return self.function(question.image, question.map.copy(), dict(question.row))


def per_map(function: Callable | None = None, *, workers: int = 1) -> Any:
    """
    [`PerMap`] as a decorator.

    Example:

    ```python
    >>> @per_map(workers=4)
    ... def looks_right(image, class_map, row):
    ...     return float((class_map > 0).mean() > 0.1)
    ```
    """
    return partial(PerMap, workers=workers) if function is None else PerMap(function, workers)
