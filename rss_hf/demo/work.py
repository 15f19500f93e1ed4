"""The work of a request: counted before it is done, stopped when it takes too long, and waited for in turn."""

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial

import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakIdKeyDictionary
from transformers import BaseImageProcessor, PreTrainedModel

from ..data.transforms import process_image
from .images import Refusal


MAX_OPERATIONS = {"cpu": 10**12, "cuda": 10**14}  # of a request; about half a minute on one core, seconds on a GPU
PER_ELEMENT = 30  # operations that writing one number to memory takes as long as, on a CPU
MAX_CALLS = 20_000  # of torch's functions in a pass; each takes microseconds whatever its size
MAX_MEMORY = 4 << 30  # bytes of a pass, beside the weights
MAX_MODULES = 5_000  # a model of 200 layers has 2,000
MAX_COUNTING_SECONDS = 20
MAX_SECONDS = 60  # of computing for one request
PATIENCE = 30  # seconds a request waits for a place, then for its turn
PLACES = 8  # requests whose images are decoded

logger = logging.getLogger("rss_hf.demo")


class Counter(TorchDispatchMode):
    """
    Counts what is run on the meta device, where tensors have no content, and refuses as soon as it is too much.

    Args:
        what (`str`): how errors call what is counted.
        limit (`int`): operations that are accepted.
    """

    def __init__(self, what: str, limit: int):
        super().__init__()
        self.what, self.limit = what, limit
        self.flops = FlopCounterMode(display=False)
        self.until = time.monotonic() + MAX_COUNTING_SECONDS
        self.elements = self.calls = 0
        self.held = WeakIdKeyDictionary()  # the storages whose bytes are in `memory`
        self.memory = 0

    def __enter__(self):
        self.flops.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.flops.__exit__(*error)

    @property
    def operations(self) -> int:
        return self.flops.get_total_flops() + PER_ELEMENT * self.elements

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.calls += 1
        if not function.is_view:
            for tensor in tree_leaves(result):
                if isinstance(tensor, torch.Tensor):
                    self.elements += tensor.numel()
                    self._hold(tensor.untyped_storage())
        if self.operations > self.limit:
            raise Refusal(
                f"{self.what} takes more than {self.limit / 1e9:.0f} billion operations, the most that are done for a "
                "request. Give a smaller image, or a smaller model."
            )
        if self.memory > MAX_MEMORY:
            raise Refusal(
                f"{self.what} takes more than {MAX_MEMORY >> 30} GiB of memory, the most that is given to a request. "
                "Give a smaller image, or a smaller model."
            )
        if self.calls > MAX_CALLS or time.monotonic() > self.until:
            raise Refusal(f"{self.what} has too many steps for this page. Give a smaller model.")
        return result

    def _hold(self, storage: torch.UntypedStorage):
        """Counts a storage's bytes until nothing refers to it any more."""
        if storage not in self.held:
            self.held[storage] = True
            self.memory += storage.nbytes()
            weakref.finalize(storage, self._let_go, storage.nbytes()).atexit = False

    def _let_go(self, size: int):
        self.memory -= size


class DryRun:
    """
    A model and its image processor without content, to know what an image takes before anything of that size is made.

    Args:
        model (`PreTrainedModel`): on the meta device, in eval mode.
        processor (`BaseImageProcessor`): as it is used.
        limit (`int`): operations that are accepted in a request.
    """

    def __init__(self, model: PreTrainedModel, processor: BaseImageProcessor, limit: int):
        self.model, self.processor, self.limit = model, processor, limit
        self.input_size = lru_cache(64)(self._input_size)
        self.operations = lru_cache(64)(self._operations)

    def _input_size(self, width: int, height: int) -> tuple[int, int]:
        """The (h, w) of the model's input for an image of that size. Raises `Refusal` if making it is too much."""
        pixels = torch.empty(3, height, width, dtype=torch.uint8, device="meta")
        counter = Counter("Preparing this image for the model", self.limit)
        pixel_values = self._run(
            f"The model's image processor cannot take an image of {width} x {height} pixels.",
            counter,
            partial(process_image, self.processor, pixels),
        )
        return tuple(pixel_values.shape[-2:])

    def _operations(self, height: int, width: int) -> int:
        """What a pass over an input of that size takes. Raises `Refusal` if it is too much."""
        counter = Counter(f"A pass of the model over {width} x {height} pixels", self.limit)
        output = self._run(
            f"The model cannot take an input of {width} x {height} pixels.",
            counter,
            lambda: self.model(pixel_values=torch.empty(1, 3, height, width, device="meta")).logits,
        )
        if output.ndim != 4 or output.shape[1] != self.model.config.num_labels:
            raise Refusal(f"The model's answer has shape {tuple(output.shape)}, which is no map of its classes.")
        return counter.operations

    def _run(self, failure: str, counter: Counter, function: Callable):
        """What a function returns on the meta device, counted. Raises `Refusal` with `failure` if it fails."""
        try:
            with torch.no_grad(), counter:
                return function()
        except Refusal:
            raise
        except Exception as error:  # whatever a strange size, or strange settings, make of it
            logger.exception(failure)
            raise Refusal(failure) from error

    def check(self, size: tuple[int, int], passes: int = 1):
        """Refuses `passes` over inputs of `size` = (h, w) pixels that take too many operations or too much memory."""
        operations = passes * self.operations(*size)
        if operations > self.limit:
            raise Refusal(
                f"{passes} passes of the model over {size[1]} x {size[0]} pixels take {operations / 1e9:.0f} billion "
                f"operations; up to {self.limit / 1e9:.0f} billion are done for a request. Give a larger window or "
                "none, or do without the mirror image."
            )


@contextmanager
def few_modules() -> Iterator[None]:
    """Refuses a model in whose making this thread makes more than `MAX_MODULES` modules."""
    thread, made = threading.get_ident(), 0

    def count(module, name, submodule):
        nonlocal made
        if threading.get_ident() != thread:
            return
        made += 1
        if made > MAX_MODULES:
            raise Refusal(f"The model has more than {MAX_MODULES} layers, too many for this page.")

    hook = register_module_module_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


class Turns:
    """
    Who computes when: `PLACES` requests have their images decoded, and one model is at work at a time, so that memory
    is that of one image and CPU threads do not compete. Nobody waits longer than `patience` for either.

    Args:
        places (`int`): see above.
        patience (`float`): seconds.
        seconds (`float`): that one request may compute; after them [`Turns.stop_late`] ends it.
    """

    def __init__(self, places: int = PLACES, patience: float = PATIENCE, seconds: float = MAX_SECONDS):
        self.patience, self.seconds = patience, seconds
        self._places, self._computing = threading.BoundedSemaphore(places), threading.BoundedSemaphore(1)
        self._until = 0.0  # when the one that computes must have ended

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among those at work. Raises `Refusal` if none becomes free in time."""
        self._wait_for(self._places)
        try:
            yield
        finally:
            self._places.release()

    @contextmanager
    def compute(self) -> Iterator[None]:
        """The turn to compute. Raises `Refusal` if it does not come in time, or the one at work cannot be stopped."""
        self._wait_for(self._computing)
        self._until = time.monotonic() + self.seconds
        try:
            yield
        finally:
            self._computing.release()

    def stop_late(self, module: nn.Module, inputs: tuple):
        """A hook before each layer of a model: ends the pass of a request whose time is over."""
        if time.monotonic() > self._until:
            raise Refusal(
                f"This request was stopped after {self.seconds:g} s of computing, the most that is given to one. Give "
                "a smaller image, a larger window or a smaller model."
            )

    def _wait_for(self, lock: threading.Semaphore):
        give_up = time.monotonic() + self.patience
        while not lock.acquire(timeout=min(1, self.patience)):
            now = time.monotonic()
            if now > give_up or (lock is self._computing and now > self._until + self.patience):
                raise Refusal("The page is busy with the images of others. Try again in a minute.")


turns = Turns()
