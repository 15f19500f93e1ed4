"""Command lines: dataclasses of arguments, a YAML file under them, unknown names refused with the nearest one."""

import argparse
import difflib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser


@dataclass
class DataArguments:
    """Which images and masks. The arguments of [`~rss_hf.data.load_segmentation_dataset`], which explains them."""

    dataset_name: str = field(
        default="nateraw/pascal-voc-2012",
        metadata={"help": "Hub id, data set folder, two folders IMAGES,MASKS, or built in: shapes, shapes-hard."},
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of the data set."})
    streaming: bool = field(default=False, metadata={"help": "Read rows as they are needed; give --max_steps."})
    train_split: str | None = field(default=None, metadata={"help": "Default: train or training."})
    eval_split: str | None = field(default=None, metadata={"help": "Default: validation, val or test."})
    image_column: str | None = field(default=None, metadata={"help": "Default: image, pixel_values or img."})
    mask_column: str | None = field(default=None, metadata={"help": "Default: mask, annotation, label, ..."})
    class_names: list[str] | None = field(default=None, metadata={"help": "By class id, where they are not known."})
    validation_fraction: float = field(default=0.1, metadata={"help": "Held out where there is no such split."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Keep only so many training rows."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Keep only so many evaluation rows."})


def parse_args(*dataclass_types: type, argv: list[str] | None = None) -> tuple[Any, ...]:
    """
    Instances of `dataclass_types` from a command line. `--config file.yaml` gives values that the rest of the line
    overrides.

    Args:
        dataclass_types: as for [`~transformers.HfArgumentParser`].
        argv (`list[str]`, *optional*, defaults to that of the process).

    Raises:
        ValueError: if the file cannot be read as a mapping, or a name in it or on the line is unknown.
    """
    file_parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    file_parser.add_argument("--config", help="YAML file of arguments; those on the command line override it.")
    file, argv = file_parser.parse_known_args(argv)
    parser = HfArgumentParser(dataclass_types, allow_abbrev=False, parents=[file_parser])
    options = [option.removeprefix("--") for action in parser._actions for option in action.option_strings]
    if file.config is not None:
        argv = as_command_line(read_config(file.config, options)) + argv
    *parsed, _, unknown = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True)
    refuse_unknown([word[2:].partition("=")[0] for word in unknown if word.startswith("--")], options, "command line")
    if unknown:
        raise ValueError(f"The command line has values that belong to no argument: {' '.join(unknown)}.")
    return tuple(parsed)


def read_config(path: str, options: list[str]) -> dict[str, Any]:
    """The mapping in a YAML file, its keys checked."""
    if not Path(path).is_file():
        raise ValueError(f"--config {path}: there is no such file.")
    values = yaml.safe_load(Path(path).read_text())
    if not isinstance(values, dict):
        raise ValueError(f"--config {path}: expected lines of 'name: value', got a {type(values).__name__}.")
    refuse_unknown(list(values), options, path)
    return values


def refuse_unknown(names: list[str], options: list[str], where: str) -> None:
    """Raises a ValueError that names the first unknown name, the place and the nearest right name."""
    for name in names:
        if name not in options:
            nearest = difflib.get_close_matches(str(name), options, n=1, cutoff=0.5)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else " See --help for the names."
            raise ValueError(f"{where}: unknown argument {name!r}.{hint}")


def as_command_line(values: dict[str, Any]) -> list[str]:
    """A mapping as words of a command line, so that a file's values are converted and checked as a line's are."""
    words = []
    for name, value in values.items():
        if value is not None:
            items = value if isinstance(value, list) else [value]
            words += [f"--{name}", *(json.dumps(item) if isinstance(item, dict) else str(item) for item in items)]
    return words
