"""The text of --help: the project's own options first, each on a line of its own with its default."""

import textwrap
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from typing import Any

from transformers import TrainingArguments

from ..recipes import recipe_names
from ..training.rss_config import RSSConfig
from ..training.segmentation_config import SegmentationConfig


# The options of the Trainer that matter here, in the order of --help.
TRAINER_OPTIONS = {
    "output_dir": "Where the model, its checkpoints and the report go.",
    "resume_from_checkpoint": "A checkpoint's folder, or last: go on from the last one in output_dir.",
    "do_train": "false: only evaluate and report.",
    "max_steps": "Optimizer steps; -1: num_train_epochs counts.",
    "per_device_train_batch_size": "Images a process trains on at once.",
    "gradient_accumulation_steps": "Batches a step.",
    "learning_rate": "Rate at the end of the warm-up.",
    "lr_scheduler_type": "Course of the rate: linear, cosine, constant, polynomial, ...",
    "warmup_steps": "Steps, or below 1 the fraction of them, in which the rate rises.",
    "bf16": "Mixed precision.",
    "eval_strategy": "When to evaluate during training: no, steps or epoch.",
    "eval_steps": "Steps from one evaluation to the next.",
    "load_best_model_at_end": "Keep the checkpoint with the best evaluation.",
    "save_steps": "Steps from one checkpoint to the next.",
    "push_to_hub": "Push every checkpoint while it trains.",
    "hub_model_id": "Repository to push to, organisation/name.",
    "seed": "Of the initialisation, the order of images, augmentation and samples.",
}


def help_text(dataclass_types: Sequence[type], description: str, everything: bool = False) -> str:
    """
    Args:
        dataclass_types (`Sequence[type]`): dataclasses of options.
        description (`str`): what comes first.
        everything (`bool`, *optional*, defaults to `False`): whether to list every option of the Trainer.
    """
    trains = any(issubclass(dataclass_type, RSSConfig) for dataclass_type in dataclass_types)
    lines = [description.strip(), "", "Options from files, which those of the command line override"]
    lines.append(option_line("config", "A YAML file, name: value."))
    if trains:
        lines.append(option_line("recipe", f"Measured settings, over those of the file: {', '.join(recipe_names())}."))
    for dataclass_type in dataclass_types:
        for title, options in groups(dataclass_type, everything).items():
            lines += ["", title, *options]
    if trains and not everything:
        lines += ["", "--help_all also lists every other option of transformers.TrainingArguments."]
    return "\n".join(lines)


def groups(dataclass_type: type, everything: bool) -> dict[str, list[str]]:
    """The lines of a dataclass's options by the title of their group."""
    by_name = {field.name: field for field in fields(dataclass_type) if field.init}
    if not issubclass(dataclass_type, RSSConfig):
        title = getattr(dataclass_type, "_argument_group_name", "Options")  # a name of HfArgumentParser's, optional
        return {title: [field_line(field) for field in by_name.values()]}
    own = [
        [name for name in config.__annotations__ if name not in TrainingArguments.__dataclass_fields__]
        for config in (RSSConfig, SegmentationConfig)
    ]
    lines = {
        "Rewards and policy gradient": [field_line(by_name[name]) for name in own[0]],
        "Training": [field_line(by_name[name]) for name in own[1]],
    }
    lines["Training"] += [field_line(by_name[name], text) for name, text in TRAINER_OPTIONS.items()]
    if everything:
        others = [field for name, field in by_name.items() if name not in (*own[0], *own[1], *TRAINER_OPTIONS)]
        lines["Other options of transformers.TrainingArguments"] = [field_line(field) for field in others]
    return lines


def field_line(field: Field, text: str | None = None) -> str:
    """The line of one option; `text` instead of the field's own help."""
    text = text or field.metadata.get("help", "").replace("%%", "%")
    if "choices" in field.metadata:
        text = f"{text.rstrip('.')}: {', '.join(field.metadata['choices'])}."
    text = textwrap.shorten(text, width=120, placeholder=" ...")
    default = field.default if field.default_factory is MISSING else field.default_factory()
    if default is MISSING:
        return option_line(field.name, f"{text} Required.")
    return option_line(field.name, text if default is None else f"{text} [{as_typed(default)}]")


def option_line(name: str, text: str) -> str:
    return f"  --{name:<28} {text}"


def as_typed(value: Any) -> str:
    """A default as one would type it."""
    if isinstance(value, bool):
        return str(value).lower()
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
