"""YAML files of settings, read strictly: a slip in one is an error that names the file and the line."""

import re
from pathlib import Path
from typing import Any

import yaml


class StrictLoader(yaml.SafeLoader):
    """YAML in which no key stands twice and of the bare words only true and false are booleans, as in YAML 1.2."""

    BOOL = "tag:yaml.org,2002:bool"
    # YAML 1.1 reads `save_strategy: no` as False.
    yaml_implicit_resolvers = {
        letter: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:bool"]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key_node, deep=True) for key_node, _ in node.value]
        for i, (key_node, _) in enumerate(node.value):
            if keys[i] in keys[:i]:
                problem = f"{keys[i]!r} stands there for the second time; keep one"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key_node.start_mark)
        return super().construct_mapping(node, deep)


# Bytes that are no text, a 13th month, and what PyYAML stumbles over where a tag, `!!timestamp` say, is wrong.
NOT_YAML = (yaml.YAMLError, ValueError, OverflowError, AttributeError, LookupError, TypeError)

StrictLoader.add_implicit_resolver(StrictLoader.BOOL, re.compile("^(?:true|True|false|False)$"), list("tTfF"))


def read_settings(path: str | Path) -> dict[str, Any]:
    """
    The mapping in a YAML file.

    Raises:
        `ValueError`: no such file, no YAML, no mapping or a key that stands twice, with the file and, where YAML tells
        it, the line.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise ValueError(f"{path}: there is no such file.")
        text = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    try:
        values = yaml.load(text.decode(), StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise ValueError(f"{path}{line}: {error.problem or error.context}.") from error
    except RecursionError as error:
        raise ValueError(f"{path} is not a text file of YAML: it is nested too deeply.") from error
    except NOT_YAML as error:
        raise ValueError(f"{path} is not a text file of YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected lines of 'name: value', got a {type(values).__name__}.")
    return values
