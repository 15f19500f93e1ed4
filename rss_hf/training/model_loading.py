"""Models and image processors by name, and what a model's configuration says of its classes."""

from typing import Any

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
    """
    if id2label is not None:
        kwargs |= {"id2label": id2label, "label2id": {name: i for i, name in id2label.items()}}
    if not name_or_path:
        return RSSSegformerForSemanticSegmentation(RSSSegformerConfig(**kwargs))
    source = {"revision": kwargs.get("revision"), "trust_remote_code": trust_remote_code}
    model_type = AutoConfig.from_pretrained(name_or_path, **source).model_type
    if model_type in ("segformer", RSSSegformerConfig.model_type):
        return RSSSegformerForSemanticSegmentation.from_pretrained(name_or_path, **kwargs)
    return AutoModelForSemanticSegmentation.from_pretrained(
        name_or_path, trust_remote_code=trust_remote_code, **kwargs
    )


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
    kwargs |= {} if size is None else {"size": {"height": size[0], "width": size[1]}}
    if not name_or_path:
        return SegformerImageProcessor(**kwargs)
    return AutoImageProcessor.from_pretrained(name_or_path, **kwargs)


def ignore_index_of(model: nn.Module | None) -> int:
    """The label of void pixels that a model's configuration names, 255 where it names none."""
    fields = model.config.to_dict() if isinstance(model, PreTrainedModel) else {}
    return next((fields[name] for name in IGNORE_INDEX_FIELDS if name in fields), IGNORE_INDEX)


def check_classes(model: PreTrainedModel) -> None:
    """Raises a ValueError where a model has too many classes, or its ignore index is one of them."""
    num_labels = model.config.num_labels
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
