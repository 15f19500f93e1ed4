"""Targets of fuzz.py: YAML files and command lines."""

import contextlib
import io
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from accelerate.state import AcceleratorState
from hypothesis import strategies as st
from transformers import TrainingArguments

from rss_hf import RSSConfig
from rss_hf.cli.arguments import AugmentationArguments, DataArguments, ModelArguments, parse_args
from rss_hf.cli.evaluate import EvaluateArguments
from rss_hf.cli.predict import PredictArguments
from rss_hf.recipes import recipe_names
from rss_hf.recipes.settings_file import read_settings


TRAIN = (ModelArguments, DataArguments, AugmentationArguments, RSSConfig)
COMMANDS = [TRAIN, (EvaluateArguments, DataArguments), (PredictArguments,)]
OWN = sorted({field.name for kind in TRAIN for field in fields(kind)} - TrainingArguments.__dataclass_fields__.keys())
OF_THE_PROCESS = {"deepspeed", "full_determinism", "tf32"}  # what transformers sets for all that comes after
OTHERS = sorted({field.name for field in fields(TrainingArguments) if field.init} - OF_THE_PROCESS)
NAMES = st.one_of(
    st.sampled_from(OWN), st.sampled_from(OTHERS), st.sampled_from(["config", "recipe", "help", "model"])
)
NUMBERS = st.one_of(st.integers(-3, 5), st.integers(), st.floats(), st.sampled_from([1e308, 5e-324, 2**63, 10**400]))
WORDS = st.one_of(
    NUMBERS.map(repr),
    st.text(max_size=8),
    st.sampled_from(
        ["true", "no", "null", "shapes", "batch", "steps", "{}", "[]", '{"eta": 1}', '{"a": [NaN]}', "{a"]
    ),
    st.sampled_from(["-", "--", "---", "=", "--=", "-1e5", "-inf", "%", "~", "@", "/", "\0", "\ud800", "x" * 300]),
    st.sampled_from(recipe_names()),
)
SYNTAX = [
    "a: 1\n",
    "- ",
    "? ",
    ": ",
    "&a ",
    "*a",
    "<<: ",
    "!!",
    "!!set ",
    "!!binary ",
    "!!timestamp ",
    "!!int ",
    "!!float ",
]
SYNTAX += [
    "{",
    "}",
    "[",
    "]",
    "|",
    ">",
    "'",
    '"',
    "\n",
    "  ",
    "\t",
    "#",
    "%YAML 1.1\n",
    "---\n",
    "...\n",
    "\ufeff",
    "=",
    "~",
]
SYNTAX += ["1:30", "0x", "0o8", "1_0", ".nan", "-.inf", "1e5", "2020-02-30", "2020-01-01T25:00:00", "seed", "strides"]


def yaml_texts(data: st.DataObject) -> None:
    """A file of any bytes is a mapping, or a ValueError names it."""
    pieces = st.lists(st.sampled_from(SYNTAX) | st.text(max_size=4), max_size=20).map("".join)
    content = data.draw(st.binary(max_size=200) | pieces.map(lambda text: text.encode("utf-8", "surrogatepass")))
    with file_of(content) as path:
        try:
            values = read_settings(path)
        except ValueError as error:
            assert path in str(error), error
            return
        assert isinstance(values, dict)
        parses(TRAIN, ["--config", path])


def yaml_values(data: st.DataObject) -> None:
    """Whatever stands under the names of options is taken as finite numbers, or a ValueError says why not."""
    leaves = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.binary(max_size=3), st.dates(), st.datetimes())
    keys = st.one_of(st.sampled_from(["eta", "num_labels", "memory_size"]), leaves.filter(is_hashable))
    tree = st.recursive(leaves, lambda part: st.lists(part, max_size=3) | st.dictionaries(keys, part, max_size=3))
    values = data.draw(st.dictionaries(NAMES, tree, min_size=1, max_size=4))
    with file_of(yaml.safe_dump(values, allow_unicode=False).encode()) as path:
        parses(TRAIN, ["--config", path])


def command_lines(data: st.DataObject) -> None:
    """Any words are a command's options of finite numbers, or a ValueError says why not."""
    option = st.builds(lambda name, dash: "--" + (name.replace("_", "-") if dash else name), NAMES, st.booleans())
    pair = st.lists(WORDS, max_size=3).flatmap(lambda words: option.map(lambda name: [name, *words]))
    joined = st.builds(lambda name, word: [f"{name}={word}"], option, WORDS)
    line = data.draw(st.lists(st.one_of(pair, pair, joined, WORDS.map(lambda word: [word])), max_size=4))
    parses(data.draw(st.sampled_from(COMMANDS)), [word for words in line for word in words])


def parses(dataclass_types: tuple[type, ...], line: list[str]) -> None:
    """Parses a line; a ValueError and the end after --help are documented. Of what is taken every number is finite."""
    AcceleratorState._reset_state(reset_partial_state=True)
    environment = dict(os.environ)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            parsed = parse_args(*dataclass_types, argv=line)
    except ValueError as error:
        assert str(error)
    except SystemExit as end:
        assert not end.code, end
    else:
        for settings in parsed:
            for field in fields(settings):
                assert all(map(math.isfinite, numbers(getattr(settings, field.name)))), field.name
    finally:  # some options of the Trainer are written to the environment
        AcceleratorState._reset_state(reset_partial_state=True)
        os.environ.clear()
        os.environ.update(environment)


def numbers(value: Any) -> Iterator[float]:
    """The floats in a value."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers(part)


def is_hashable(value: Any) -> bool:
    return not isinstance(value, Iterable) or isinstance(value, str | bytes)


@contextlib.contextmanager
def file_of(content: bytes) -> Iterator[str]:
    """The path of a file with this content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "settings.yaml")
        path.write_bytes(content)
        yield str(path)
