"""The models that are held: loaded when first asked for, few at a time, while the others go on answering."""

import json
import logging
import re
import threading
from collections import OrderedDict
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    BaseImageProcessor,
    PreTrainedConfig,
    PreTrainedModel,
)

from ..training.model_loading import MAX_CLASSES, ignore_index_of
from .configs import MAX_CONFIG, check_config, offline
from .images import Refusal
from .work import MAX_OPERATIONS, DryRun, few_modules, turns


FILES = ("config.json", "preprocessor_config.json", "model.safetensors")
MAX_NAME = 1000  # characters of a Hub id or folder
MAX_WEIGHTS = 1 << 30  # bytes of a model that a visitor names
USUAL_IMAGE = (640, 480)  # pixels, of which a model that a visitor names must be able to take one
MAX_HELD = 2  # beside the model that the page was started with

logger = logging.getLogger("rss_hf.demo")


@dataclass(frozen=True)
class Loaded:
    """
    A model that can answer.

    Attributes:
        title (`str`): what it is, for the page: a Hub id, or the last part of a local folder's path.
        is_local (`bool`): whether it is of a local folder.
        model (`PreTrainedModel`): on the GPU where there is one, float32, in eval mode.
        processor (`BaseImageProcessor`): its image processor.
        class_names (`list[str]`): one name a class, all different.
        ignore_index (`int`): the label of pixels that belong to no class.
        steps (`int`, *optional*): the optimiser steps of its training, where its folder tells.
        dry_run ([`~work.DryRun`]): what an image takes.
    """

    title: str
    is_local: bool
    model: PreTrainedModel
    processor: BaseImageProcessor
    class_names: list[str]
    ignore_index: int
    steps: int | None
    dry_run: DryRun


class Models:
    """
    Models by name. `default` is never dropped; of the others the `MAX_HELD` used last are held.

    Args:
        default (`str`): Hub id or folder of the model for an empty name, chosen by who started the page.
        local (`bool`): whether visitors are on this machine: they may name folders, and use its token of the Hub.
    """

    def __init__(self, default: str, local: bool):
        self.default, self.local = default, local
        self._lock = threading.Lock()
        self._held: OrderedDict[str, Loaded] = OrderedDict()
        self._loading: dict[str, Future] = {}

    def get(self, name: str = "") -> Loaded:
        """
        The model of a name, loaded if need be. Waits for the default model only: one other model is loaded at a time,
        and who asks for any other meanwhile is asked to come back.

        Raises:
            Refusal: if there is no such model, it cannot be used here, or one is being loaded already.
        """
        if not isinstance(name, str):
            raise Refusal("The model must be named by a text.")
        name = name.strip() or self.default
        if len(name) > MAX_NAME:
            raise Refusal(f"The name of the model has {len(name)} characters; up to {MAX_NAME} are read.")
        with self._lock:
            if name in self._held:
                self._held.move_to_end(name)
                return self._held[name]
            others = self._loading.keys() - {self.default}
            if name != self.default and others:
                what = "This" if name in others else "Another"
                raise Refusal(f"{what} model is being loaded. Try again in a minute.")
            pending = self._loading.get(name)
            if pending is None:
                self._loading[name] = future = Future()
        if pending is not None:
            return pending.result()
        try:
            loaded = load(name, self.local, trusted=name == self.default)
        except BaseException as error:
            with self._lock:
                del self._loading[name]
            future.set_exception(error)
            raise
        with self._lock:
            del self._loading[name]
            self._held[name] = loaded
            droppable = [held for held in self._held if held != self.default]
            for dropped in droppable[:-MAX_HELD]:
                del self._held[dropped]
        future.set_result(loaded)
        return loaded


def load(name: str, local: bool, trusted: bool) -> Loaded:
    """
    Loads a model. No code that comes with it is run, and its weights are read from safetensors only.

    Args:
        name (`str`): Hub id, or a folder.
        local (`bool`): see [`Models`].
        trusted (`bool`): whether it was named by who started the page: it may be a folder, private, and large.

    Raises:
        Refusal: if there is no such model, or it cannot be used here.
    """
    is_folder = (local or trusted) and Path(name).is_dir()
    folder = Path(name).resolve() if is_folder else download(name, local, trusted)
    title = folder.name if is_folder else name
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if not trusted:
            for file in FILES[:2]:
                check_config(folder / file)
        with offline() if not trusted else nullcontext():
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
            check_classes(config)
            dry_run = DryRun(empty_model(config), processor, MAX_OPERATIONS[device])
            if not trusted:
                check_bounds(dry_run)
            model, loading = AutoModelForSemanticSegmentation.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
    except Refusal:
        raise
    except Exception as error:  # whatever a checkpoint has in it
        logger.exception("The model %r could not be loaded.", name)
        raise Refusal(
            f"The model {title!r} cannot be loaded as a semantic segmentation model of the transformers library. It "
            f"needs {', '.join(FILES)} and no code of its own."
        ) from error
    if loading["missing_keys"] or not any("Segmentation" in kind for kind in config.architectures or ["Segmentation"]):
        raise Refusal(f"The model {title!r} has no weights of a segmentation head: it was not trained to segment.")
    model.to(device)
    for module in model.modules():
        module.register_forward_pre_hook(turns.stop_late)
    state = folder / "trainer_state.json"
    steps = json.loads(state.read_text())["global_step"] if is_folder and state.is_file() else None
    return Loaded(
        title=title,
        is_local=is_folder,
        model=model,
        processor=processor,
        class_names=different_names(config.id2label),
        ignore_index=ignore_index_of(model),
        steps=steps,
        dry_run=dry_run,
    )


def download(name: str, local: bool, trusted: bool) -> Path:
    """The folder of a Hub model's files, `FILES` alone. Raises `Refusal`: see [`load`]."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        kinds = 'the Hub id of a model, as in "org/name"' + (", or a folder with one" if local else "")
        raise Refusal(f"This is not the name of a model: give {kinds}.") from error
    token = None if local or trusted else False  # visitors get nothing that only the token of this Space may read
    file = FILES[-1]
    try:
        weights = get_hf_file_metadata(hf_hub_url(name, file), token=token)
        if not trusted:
            check_size(weights.size, f"The file {file} of {name!r}", MAX_WEIGHTS)
            for file in FILES[:2]:
                about = get_hf_file_metadata(hf_hub_url(name, file, revision=weights.commit_hash), token=token)
                check_size(about.size, f"The file {file} of {name!r}", MAX_CONFIG)
        return Path(snapshot_download(name, revision=weights.commit_hash, allow_patterns=list(FILES), token=token))
    except EntryNotFoundError as error:
        kind = ", the only kind of weights this page loads" if file == FILES[-1] else ""
        raise Refusal(f"The model {name!r} has no {file}{kind}.") from error
    except RepositoryNotFoundError as error:
        raise Refusal(f"There is no public model {name!r} on the Hub.") from error
    except Refusal:
        raise
    except Exception as error:  # whatever a network does
        logger.exception("The model %r could not be fetched.", name)
        raise Refusal(f"The model {name!r} could not be fetched from the Hub. Try again later.") from error


def check_classes(config):
    """Refuses a model whose class ids do not fit a mask."""
    if config.num_labels > MAX_CLASSES:
        raise Refusal(f"The model has {config.num_labels} classes; up to {MAX_CLASSES} fit a mask.")


def check_size(size: int | None, what: str, limit: int):
    """Refuses a file of more than `limit` bytes, or of a size that the Hub does not tell."""
    if size is None or size > limit:
        unit, power = ("GiB", 30) if limit >> 30 else ("MiB", 20)
        raise Refusal(f"{what} has more than {limit >> power} {unit}, the most this page loads.")


def empty_model(config: PreTrainedConfig) -> PreTrainedModel:
    """The model of a configuration, without content. Raises `Refusal` if it has too many layers."""
    with torch.device("meta"), few_modules():
        return AutoModelForSemanticSegmentation.from_config(config, trust_remote_code=False).eval()


def check_bounds(dry_run: DryRun):
    """Refuses a model that would take far more memory or time than its files. Nothing of that size is made here."""
    tensors = [*dry_run.model.parameters(), *dry_run.model.buffers()]
    numbers = sum(tensor.numel() for tensor in tensors)
    if 4 * numbers > MAX_WEIGHTS:
        raise Refusal(f"The model has {numbers / 1e6:.0f} million parameters, too many for this page.")
    dry_run.check(dry_run.input_size(*USUAL_IMAGE))


def different_names(id2label: dict[int, str]) -> list[str]:
    """
    The names of the classes by id, with the id where one name is given to several; none has more than 40 characters,
    or such as pages take for links and tags.
    """
    names = [re.sub(r"[^\w ,;:.()/&'+-]", "", str(id2label[i])).split() for i in range(len(id2label))]
    names = [" ".join(words)[:40] or f"class {i}" for i, words in enumerate(names)]
    return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names)]
