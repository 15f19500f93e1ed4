"""Command lines: dataclasses of options, YAML files under them, unknown names refused with the nearest one."""

import argparse
import datetime
import difflib
import json
import re
import sys
from dataclasses import dataclass, field, fields
from typing import Any

from transformers import HfArgumentParser

from ..data.transforms import SCALE_RANGE
from ..recipes import recipe
from ..recipes.settings_file import read_settings
from ..training.rss_config import RSSConfig
from .help import help_text


MAX_SIDE = 8192  # pixels; a batch of larger crops fits no memory
SCALES = (0.1, 10.0)  # beyond, resizing takes minutes an image, or leaves no pixel


@dataclass
class DataArguments:
    """Which images and masks. The arguments of [`~rss_hf.data.load_segmentation_dataset`], which explains them."""

    _argument_group_name = "Data"

    dataset_name: str = field(
        default="nateraw/pascal-voc-2012",
        metadata={"help": "Hub id, folder, two folders IMAGES,MASKS, or built in: shapes, shapes-hard."},
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of the data set."})
    streaming: bool = field(default=False, metadata={"help": "Read rows as they are needed; give --max_steps."})
    train_split: str | None = field(default=None, metadata={"help": "If not given: train or training."})
    eval_split: str | None = field(default=None, metadata={"help": "If not given: validation, val or test."})
    image_column: str | None = field(default=None, metadata={"help": "If not given: image, pixel_values or img."})
    mask_column: str | None = field(
        default=None, metadata={"help": "If not given: mask, annotation, label, ... none: there are no masks."}
    )
    class_names: list[str] | None = field(
        default=None, metadata={"help": "By class id, where the data set does not say."}
    )
    palette: list[str] | None = field(
        default=None, metadata={"help": "Colours of RGB masks by class id, '#804000' or names."}
    )
    validation_fraction: float = field(default=0.1, metadata={"help": "Held out where there is no such split."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Keep only so many training rows."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Keep only so many evaluation rows."})

    def __post_init__(self):
        for name in ("max_train_samples", "max_eval_samples"):
            if (limit := getattr(self, name)) is not None and limit < 1:
                raise ValueError(f"{name} must be at least 1, got {limit}. Leave it out to keep all rows.")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must be above 0 and below 1, got {self.validation_fraction}.")
        if not self.dataset_name.strip():
            raise ValueError("dataset_name is empty: give a Hub id, a folder, IMAGES,MASKS or shapes.")
        if self.class_names is not None and not all(name.strip() for name in self.class_names):
            raise ValueError(f"class_names={self.class_names} has an empty name.")


@dataclass
class ModelArguments:
    """What is trained, and from what."""

    _argument_group_name = "Model"

    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Hub id or folder of an encoder or a model. If not given: SegFormer-B0 from scratch."},
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of the model."})
    ignore_mismatched_sizes: bool = field(
        default=False, metadata={"help": "Start a head for other classes afresh instead of refusing the checkpoint."}
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Run the model code that the Hub id brings."})
    objective: str = field(
        default="reward",
        metadata={"help": "What to learn from.", "choices": ["reward", "cross_entropy"]},
    )

    def __post_init__(self):
        if self.model_name_or_path is not None and not self.model_name_or_path.strip():
            raise ValueError("model_name_or_path is empty: leave it out to train SegFormer-B0 from scratch.")


@dataclass
class AugmentationArguments:
    """How training images are varied."""

    _argument_group_name = "Augmentation"

    image_size: list[int] = field(
        default_factory=lambda: [512, 512],
        metadata={"help": "Height and width, or one side, of crops and model input, in pixels."},
    )
    scale_range: list[float] = field(
        default_factory=lambda: list(SCALE_RANGE), metadata={"help": "Random scale of training images, from and to."}
    )
    photometric_distortion: bool = field(default=True, metadata={"help": "Vary brightness, contrast and colour."})
    whole_images: bool | None = field(
        default=None,
        metadata={"help": "Resize whole images: no scale, crop, flip. If not given: where there are no masks."},
    )

    def __post_init__(self):
        if len(self.image_size) not in (1, 2) or not all(1 <= side <= MAX_SIDE for side in self.image_size):
            raise ValueError(
                f"image_size={self.image_size} must be a height and a width, or one side, in pixels from 1 to "
                f"{MAX_SIDE}."
            )
        if len(self.image_size) == 1:
            self.image_size = self.image_size * 2
        low, high = SCALES
        if len(self.scale_range) != 2 or not low <= self.scale_range[0] <= self.scale_range[1] <= high:
            raise ValueError(
                f"scale_range={self.scale_range} must be two numbers from {low} to {high}, the smaller one first."
            )
        if self.whole_images and tuple(self.scale_range) != SCALE_RANGE:
            raise ValueError(
                f"scale_range={self.scale_range} has no effect on whole_images: leave out one of the two."
            )


NAMES_OF_TRL = {"num_generations": "num_samples", "epsilon": "advantage_estimator_kwargs"}

# What argparse takes for a value, not for an option. Its own pattern leaves out -1e-3.
NEGATIVE_NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$|-(inf|infinity|nan)$", re.IGNORECASE)


class OptionParser(HfArgumentParser):
    """A parser of options without abbreviations whose errors are `ValueError`s that say where the value stands."""

    def __init__(self, *dataclass_types: type):
        super().__init__(dataclass_types, add_help=False, allow_abbrev=False)
        self.places: dict[str, str] = {}  # the file or recipe that an option is from, by its name
        self.many = {action.dest for action in self._actions if action.nargs in ("+", "*")}
        self._negative_number_matcher = NEGATIVE_NUMBER

    def error(self, message: str):
        option = re.search(r"--(\w+)", message)
        place = self.places.get(option[1] if option else "", "command line")
        raise ValueError(f"{place}: {message.rstrip('.')}. See --help.") from None


def parse_args(*dataclass_types: type, argv: list[str] | None = None, description: str = "") -> tuple[Any, ...]:
    """
    Instances of `dataclass_types`: their defaults, under the values of `--config FILE`, under those of `--recipe NAME`
    (where an [`RSSConfig`] is asked for), under those of the command line. A null in a file stands for the default.
    `--help` and `--help_all` print what there is and exit.

    Args:
        dataclass_types: as for [`~transformers.HfArgumentParser`].
        argv (`list[str]`, *optional*, defaults to that of the process).
        description (`str`, *optional*): what `--help` begins with.

    Raises:
        `ValueError`: a file that cannot be read as a mapping, an unknown name, or a value that does not fit.
    """
    has_recipes = any(issubclass(dataclass_type, RSSConfig) for dataclass_type in dataclass_types)
    sources, argv = parse_sources(argv, has_recipes)
    if sources.help or sources.help_all:
        print(help_text(dataclass_types, description, everything=sources.help_all))
        sys.exit()

    names = [field.name for dataclass_type in dataclass_types for field in fields(dataclass_type) if field.init]
    parser, values = OptionParser(*dataclass_types), {}
    layers = [(path, read_settings(path)) for path in sources.config]
    layers += [(f"recipe {name}", recipe(name)) for name in sources.recipe]
    for place, layer in layers:
        refuse_unknown(list(layer), names, place)
        check_values(layer, place, parser.many)
        values |= layer
        parser.places |= dict.fromkeys(layer, place)
    for name in map(option_name, argv):  # what the command line overrides is not read, and not the file's to blame
        values.pop(name, None)
        parser.places.pop(name, None)
    try:
        *parsed, unknown = parser.parse_args_into_dataclasses(
            as_command_line(values) + argv, return_remaining_strings=True, look_for_args_file=False
        )
    except (TypeError, ValueError, OSError, ImportError) as error:  # of the dataclasses, which know no places
        word = re.match(r"\w+", str(error))
        place = parser.places.get(word[0] if word else "")
        raise ValueError(f"{place}: {error}" if place else str(error)) from error
    options = [option_name(word) for word in unknown if word.startswith("--")]
    refuse_unknown(options, [*names, "config", *(["recipe"] if has_recipes else [])], "command line")
    if unknown:
        raise ValueError(f"The command line has values that belong to no argument: {' '.join(unknown)}.")
    return tuple(parsed)


def option_name(word: str) -> str:
    """The field that a word of a command line sets, if it is an option: `--num-samples=4` sets `num_samples`."""
    return word[2:].partition("=")[0].replace("-", "_") if word.startswith("--") else ""


def parse_sources(argv: list[str] | None, has_recipes: bool) -> tuple[argparse.Namespace, list[str]]:
    """What the command line says of `config` and `recipe` (lists of one at most) and of help, and its other words."""
    parser = OptionParser()
    parser.add_argument("--config", action="append", default=[])
    if has_recipes:
        parser.add_argument("--recipe", action="append", default=[])
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--help_all", action="store_true")
    sources, argv = parser.parse_known_args(argv, argparse.Namespace(recipe=[]))
    for name in ("config", "recipe"):
        given = getattr(sources, name)
        if [] in given:  # what argparse makes of --config=--
            raise ValueError(f"--{name} names nothing.")
        if len(given) > 1:
            raise ValueError(f"--{name} is given {len(given)} times: {', '.join(given)}. Give it once.")
    return sources, argv


def refuse_unknown(names: list[str], known: list[str], place: str) -> None:
    """Raises a `ValueError` that names the first unknown name, the place and the nearest right name."""
    for name in names:
        if name not in known:
            same = [NAMES_OF_TRL[name]] if NAMES_OF_TRL.get(name) in known else []
            nearest = same or difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else " See --help for the names."
            raise ValueError(f"{place}: unknown argument {name!r}.{hint}")


def check_values(values: dict[str, Any], place: str, many: set[str]) -> None:
    """
    Raises a `ValueError` for a value that no option takes: what is no text, number, boolean or mapping, or a list of
    these for an option that is not among `many`.
    """
    for name, value in values.items():
        if isinstance(value, list) and name not in many:
            raise ValueError(f"{place}: {name} takes one value, got a list, {value!r}.")
        for part in value if isinstance(value, list) else [value]:
            if isinstance(value, list) and (part is None or str(part).startswith("--")):
                raise ValueError(f"{place}: {name} has {part!r} in its list, which stands for no value. Leave it out.")
            if not isinstance(part, str | int | float | dict | datetime.date | None):
                raise ValueError(f"{place}: {name} holds a {type(part).__name__}, {part!r}; give a text or a number.")
            try:
                as_word(part)
            except (TypeError, ValueError, RecursionError) as error:
                raise ValueError(f"{place}: {name} cannot be written as JSON: {error}.") from error


def as_command_line(values: dict[str, Any]) -> list[str]:
    """A mapping as words of a command line, so that a file's values are converted and checked as a line's are."""
    words = []
    for name, value in values.items():
        if isinstance(value, list):
            words += [f"--{name}", *map(as_word, value)]
        elif value is not None:
            words.append(f"--{name}={as_word(value)}")
    return words


def as_word(value: Any) -> str:
    return json.dumps(value, default=str) if isinstance(value, dict) else str(value)
