"""Models and image processors by name, and what a model's configuration says of its classes."""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    BaseImageProcessor,
    PreTrainedModel,
    SegformerImageProcessor,
)

from ..configuration_rss_segformer import RSSSegformerConfig
from ..constants import IGNORE_INDEX
from ..modeling_rss_segformer import RSSSegformerForSemanticSegmentation


MAX_CLASSES = 255  # class ids are 8-bit in masks and memories, and one id is void
IGNORE_INDEX_FIELDS = ("semantic_loss_ignore_index", "loss_ignore_index")  # as transformers' models call it


def load_model(
    name_or_path: str | None, id2label: dict[int, str] | None = None, trust_remote_code: bool = False, **kwargs: Any
) -> PreTrainedModel:
    """
    A segmentation model, its head made for the classes.

    Args:
        name_or_path (`str`, *optional*, defaults to SegFormer-B0 from scratch):
            Hub id or folder of an encoder (`nvidia/mit-b0`) or of a segmentation model.
        id2label (`dict[int, str]`, *optional*, defaults to those of the checkpoint): the classes' names by id.
        trust_remote_code (`bool`, *optional*, defaults to `False`): run the model code that the Hub id brings.
        kwargs: of `from_pretrained`: `revision`, `num_labels`, `ignore_mismatched_sizes`, ...

    Raises:
        ValueError: a folder that is not there or holds no model, damaged weights, or a head for other classes.
    """
    if id2label is not None:
        kwargs |= {"id2label": id2label, "label2id": {name: i for i, name in id2label.items()}}
    if not name_or_path:
        return RSSSegformerForSemanticSegmentation(RSSSegformerConfig(**kwargs))
    name_or_path = find_model(name_or_path)
    source = {"revision": kwargs.get("revision"), "trust_remote_code": trust_remote_code}
    config = AutoConfig.from_pretrained(name_or_path, **source)
    own = list(config.id2label.values())
    if id2label is not None and sorted(own) == sorted(id2label.values()) and own != list(id2label.values()):
        raise ValueError(
            f"{name_or_path} has the classes {', '.join(own[:10])} in this order, and they are given in another: "
            "its head would be taken for that of other classes. Give them in the model's order."
        )
    if config.model_type in ("segformer", RSSSegformerConfig.model_type):
        model_class = RSSSegformerForSemanticSegmentation
    else:
        model_class, kwargs["trust_remote_code"] = AutoModelForSemanticSegmentation, trust_remote_code
    try:
        return model_class.from_pretrained(name_or_path, **kwargs)
    except SafetensorError as error:
        raise ValueError(f"The weights of {name_or_path} are damaged: {error}. Copy or train them again.") from error
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        names, given = list(config.id2label.values()), "other" if id2label is None else f"the {len(id2label)} given"
        raise ValueError(
            f"{name_or_path} has a head for {len(names)} classes ({', '.join(names[:5])}{', ...' * (len(names) > 5)}) "
            f"that does not fit {given} classes. To start a new head on the rest of the model, set "
            "ignore_mismatched_sizes to true; else give the model's own classes."
        ) from error


def has_segmentation_head(name_or_path: str, **source: Any) -> bool:
    """Whether a checkpoint is one of a segmentation model, whose classes are then known; `source` says which."""
    config = AutoConfig.from_pretrained(find_model(name_or_path), **source)
    return any("Segmentation" in architecture for architecture in config.architectures or [])


def load_trained_model(
    name_or_path: str, revision: str | None = None, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """
    A segmentation model in float32, ready to predict, and its image processor. The arguments are as for
    [`load_model`].

    Raises:
        ValueError: a folder that is not there or holds no model, damaged weights, or weights without a head.
    """
    source = {"revision": revision, "trust_remote_code": trust_remote_code}
    name_or_path = find_model(name_or_path)
    try:
        model, report = AutoModelForSemanticSegmentation.from_pretrained(
            name_or_path, dtype=torch.float32, output_loading_info=True, **source
        )
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"The weights of {name_or_path} cannot be loaded: {error}") from error
    missing = sorted(set(report["missing_keys"]) & dict(model.named_parameters()).keys())
    if missing:
        raise ValueError(
            f"{name_or_path} lacks {len(missing)} weights of a {type(model).__name__}, {missing[0]} among them: its "
            "predictions would be random. Give a model that was trained to segment."
        )
    return model, AutoImageProcessor.from_pretrained(name_or_path, **source)


def find_model(name_or_path: str) -> str:
    """
    A folder of a model, its `~` expanded, or what can be an id of the Hub. The Hub is not asked for what can only be
    meant as a folder: a path that is no `organisation/name`, or one that begins with a folder there is here.

    Raises:
        ValueError: no such folder, or no model in it.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        if (path / "config.json").is_file():
            return str(path)
        inside = sorted(folder.name for folder in path.glob("*/") if (folder / "config.json").is_file())
        hint = f"; it has the folders {', '.join(inside)}, which do" if inside else ""
        raise ValueError(f"{name_or_path} holds no model, since it has no config.json{hint}. Give a model's folder.")
    if path.exists():
        raise ValueError(f"{name_or_path} is a file. Give the folder that holds the model and its config.json.")
    is_id = re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name_or_path) and not re.match(r"checkpoint-\d+$", path.name)
    beside = is_id and "/" in name_or_path and Path(path.parts[0]).is_dir()
    if not is_id or beside:
        hint = f" (where no folder {path.parts[0]} is)" if beside else ""
        raise ValueError(
            f"{name_or_path}: there is no such folder. Give the folder of a model, or an id of the Hub{hint}, "
            "organisation/name."
        )
    return name_or_path


def load_image_processor(
    name_or_path: str | None, size: tuple[int, int] | None = None, **kwargs: Any
) -> BaseImageProcessor:
    """
    The image processor that belongs to a model.

    Args:
        name_or_path (`str`, *optional*, defaults to SegFormer's own): Hub id or folder of the model.
        size (`tuple[int, int]`, *optional*): (height, width) of the model's input in pixels, instead of its own.
        kwargs: of `from_pretrained`: `revision`, `trust_remote_code`.
    """
    if size is not None:  # what is trained on crops is scored on whole images, in a size that is asked for
        kwargs |= {"size": {"height": size[0], "width": size[1]}, "do_center_crop": False}
    if not name_or_path:
        return SegformerImageProcessor(**kwargs)
    return AutoImageProcessor.from_pretrained(find_model(name_or_path), **kwargs)


def ignore_index_of(model: nn.Module | None) -> int:
    """The label of void pixels that a model's configuration names, 255 where it names none."""
    fields = model.config.to_dict() if isinstance(model, PreTrainedModel) else {}
    return next((fields[name] for name in IGNORE_INDEX_FIELDS if name in fields), IGNORE_INDEX)


def check_classes(model: nn.Module) -> None:
    """Raises a ValueError where a model does not say its classes, has too many, or one that is its ignore index."""
    num_labels = getattr(getattr(model, "config", None), "num_labels", None)
    if num_labels is None:
        raise ValueError(f"{type(model).__name__} has no config.num_labels: set it to the number of classes.")
    if num_labels > MAX_CLASSES:
        raise ValueError(
            f"The model has {num_labels} classes, and at most {MAX_CLASSES} are supported, since masks hold "
            "8-bit ids. If it is an encoder's checkpoint, say how many classes there are: "
            "model_init_kwargs={'num_labels': ...}."
        )
    if 0 <= (ignore_index := ignore_index_of(model)) < num_labels:
        raise ValueError(
            f"The model's configuration has the ignore index {ignore_index}, which is one of its {num_labels} "
            "classes: set it to 255."
        )
