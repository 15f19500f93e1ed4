"""Checks of the values of settings: kinds, finite numbers, ranges. Each error names the setting and the value."""

import json
import math
import os
import types
from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from numbers import Integral, Real
from typing import Any, Union, get_args, get_origin, get_type_hints


KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}

# The least value of arguments of the Trainer that would otherwise fail late, or do what nobody meant.
LEAST = dict.fromkeys(
    (
        "per_device_train_batch_size",
        "per_device_eval_batch_size",
        "gradient_accumulation_steps",
        "save_total_limit",
        "dataloader_prefetch_factor",
        "ddp_timeout",
        "early_stopping_patience",
    ),
    1,
) | dict.fromkeys(
    (
        "learning_rate",
        "encoder_learning_rate",
        "weight_decay",
        "adam_epsilon",
        "max_grad_norm",
        "warmup_steps",
        "logging_steps",
        "eval_steps",
        "eval_delay",
        "save_steps",
        "dataloader_num_workers",
        "seed",
        "data_seed",
    ),
    0,
)
SEEDS = 2**32  # numpy takes no larger one


def check_numbers(config: Any) -> None:
    """
    Raises a `ValueError` for the first field of a dataclass of `TrainingArguments` that holds a number that is not
    finite, a value of another kind than its annotation, or one out of range.
    """
    kinds = get_type_hints(type(config))  # `Field.type` is not reliable: HfArgumentParser writes to it
    for field in fields(config):
        if field.init:
            value = getattr(config, field.name)
            check_finite(field.name, value)
            check_kind(field.name, value, kinds[field.name])
    for name, least in LEAST.items():
        value = getattr(config, name)
        if value is not None and value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}.")
    for name in ("seed", "data_seed"):
        if (getattr(config, name) or 0) >= SEEDS:
            raise ValueError(f"{name} must be below {SEEDS}, got {getattr(config, name)}.")
    for name in ("adam_beta1", "adam_beta2"):
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(config, name)}.")
    for name in ("save", "eval"):
        if getattr(config, f"{name}_strategy") == "steps" and getattr(config, f"{name}_steps") == 0:
            raise ValueError(f"{name}_steps must be above 0, got 0. For none at all, set {name}_strategy to no.")
    if config.output_dir is not None and not str(config.output_dir).strip():
        raise ValueError(f"output_dir={config.output_dir!r} names no folder.")
    if config.max_steps != -1 and config.max_steps < 1:
        raise ValueError(
            f"max_steps must be above 0, or -1 for num_train_epochs to count; got {config.max_steps}. To evaluate "
            "without training, set do_train to false."
        )
    if config.max_steps == -1 and config.num_train_epochs <= 0:
        raise ValueError(f"num_train_epochs must be above 0 where max_steps is -1, got {config.num_train_epochs}.")


def check_finite(name: str, value: Any) -> None:
    """Raises a `ValueError` where a value, or one inside a list or a mapping, is NaN or infinite."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_finite(f"{name}[{key!r}]", item)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            check_finite(f"{name}[{i}]", item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}.")


def check_kind(name: str, value: Any, kind: Any) -> None:
    """Raises a `ValueError` where a value is not of a kind: int, float, bool, a list of these or a union with one."""
    kinds = [part for part in get_args(kind) if part is not types.NoneType] if is_union(kind) else [kind]
    if value is None and is_union(kind):
        return
    for choices in (part for part in kinds if isinstance(part, type) and issubclass(part, Enum)):
        if value not in (names := [choice.value for choice in choices]) and not isinstance(value, choices):
            raise ValueError(f"{name} must be one of {', '.join(names)}; got {value!r}.")
    if not any(of_kind(value, part) for part in kinds):
        raise ValueError(f"{name} must be {' or '.join(map(describe, kinds))}, got {value!r}.")


def is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def of_kind(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind. Where the kind is a class of another sort, any value is: the class will tell."""
    if get_origin(kind) is list:
        return isinstance(value, list | tuple) and all(of_kind(item, get_args(kind)[0]) for item in value)
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    if kind is str:
        return isinstance(value, str | os.PathLike)
    return isinstance(value, bool) if kind is bool else True


def describe(kind: Any) -> str:
    return f"a list, each {describe(get_args(kind)[0])}" if get_origin(kind) is list else KINDS.get(kind, str(kind))


def parse_json(name: str, text: str) -> dict[str, Any]:
    """
    The mapping that a setting's JSON text holds.

    Raises:
        `ValueError`: no JSON, no mapping, or a key that stands twice; it names the setting.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if twice := [key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i])]:
            raise ValueError(f"{twice[0]!r} stands there twice; keep one")
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}={text!r} is no JSON: {error}. Write it as '{{\"name\": value}}'.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a mapping, '{{\"name\": value}}', got {text!r}.")
    return value
