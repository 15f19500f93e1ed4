"""Values that the configurations refuse, whoever gives them."""

from pathlib import Path

import numpy as np
import pytest
from transformers import TrainingArguments

from rss_hf import RSSConfig, SegmentationConfig
from rss_hf.recipes import recipe, recipe_names


NAN, INF = float("nan"), float("inf")
FLOATS = [name for name, kind in RSSConfig.__annotations__.items() if kind is float]
FLOATS += [name for name, kind in TrainingArguments.__annotations__.items() if kind in (float, float | None)]
POSTERIOR = {"advantage_estimator": "score_posterior", "scale_rewards": "none"}


@pytest.mark.parametrize("name", sorted({*FLOATS, "encoder_learning_rate"}))
@pytest.mark.parametrize("value", [NAN, INF, -INF, np.float64(NAN)])
def test_every_number_is_finite(tmp_path, name, value):
    with pytest.raises(ValueError, match=rf"{name} must be a finite number, got -?(nan|inf)"):
        RSSConfig(str(tmp_path), **{name: value})


def test_the_table_of_numbers_is_not_empty():
    assert {"learning_rate", "weight_decay", "entropy_coef", "stride_warmup", "eval_steps"} <= set(FLOATS)


REFUSED = [
    ({"reward_weights": [1, NAN]}, r"reward_weights\[1\] must be a finite number, got nan"),
    ({"advantage_estimator_kwargs": {"eta": INF}}, r"advantage_estimator_kwargs\['eta'\] must be a finite number"),
    ({"lr_scheduler_kwargs": {"a": [0, {"b": NAN}]}}, r"lr_scheduler_kwargs\['a'\]\[1\]\['b'\] must be a finite"),
    ({"model_init_kwargs": {"dropout": NAN}}, r"model_init_kwargs\['dropout'\] must be a finite"),
    ({"num_samples": 4.0}, r"num_samples must be a whole number, got 4.0"),
    ({"num_samples": "4"}, r"num_samples must be a whole number, got '4'"),
    ({"num_samples": True}, r"num_samples must be a whole number, got True"),
    ({"num_samples": None}, r"num_samples must be a whole number, got None"),
    ({"num_samples": [4]}, r"num_samples must be a whole number, got \[4\]"),
    ({"strides": 4}, r"strides must be a list, each a whole number, got 4"),
    ({"strides": [8, 4.5]}, r"strides must be a list, each a whole number"),
    ({"strides": ["4"]}, r"strides must be a list, each a whole number, got \['4'\]"),
    ({"strides": [True]}, r"strides must be a list, each a whole number, got \[True\]"),
    ({"strides": "84"}, r"strides must be a list, each a whole number, got '84'"),
    ({"strides": []}, r"strides must be in pixels"),
    ({"strides": [0]}, r"strides must be in pixels"),
    ({"num_iterations": 1.5}, r"num_iterations must be a whole number, got 1.5"),
    ({"num_iterations": "2"}, r"num_iterations must be a whole number, got '2'"),
    ({"num_iterations": True}, r"num_iterations must be a whole number, got True"),
    ({"stride_warmup": "0.2"}, r"stride_warmup must be a number, got '0.2'"),
    ({"entropy_coef": -5}, r"entropy_coef must be at least 0, got -5"),
    ({"entropy_coef": True}, r"entropy_coef must be a number, got True"),
    ({"learning_rate": "1e-3"}, r"learning_rate must be a number, got '1e-3'"),
    ({"learning_rate": -1e-3}, r"learning_rate must be at least 0, got -0.001"),
    ({"encoder_learning_rate": -1}, r"encoder_learning_rate must be at least 0, got -1"),
    ({"max_steps": 0}, r"max_steps must be above 0, or -1"),
    ({"max_steps": 2.5}, r"max_steps must be a whole number, got 2.5"),
    ({"num_train_epochs": 0}, r"num_train_epochs must be above 0"),
    ({"seed": "0"}, r"seed must be a whole number, got '0'"),
    ({"do_train": "no"}, r"do_train must be true or false, got 'no'"),
    ({"bf16": 1}, r"bf16 must be true or false, got 1"),
    ({"reward_weights": "1"}, r"reward_weights must be a list, each a number, got '1'"),
    ({"reward_weights": [None]}, r"reward_weights must be a list, each a number, got \[None\]"),
    ({"reward_funcs": [3]}, r"reward_funcs must be a list, each a text, got \[3\]"),
    ({"reward_funcs": []}, r"reward_funcs is empty"),
    ({"scale_rewards": None}, r"scale_rewards must be a text, got None"),
    ({"advantage_estimator": ["reinforce"]}, r"advantage_estimator must be a text"),
    ({"advantage_estimator_kwargs": [1]}, r"advantage_estimator_kwargs must be a mapping, got \[1\]"),
    ({"advantage_estimator_kwargs": {"eta": "big"}}, r"advantage_estimator_kwargs: eta must be a number, got 'big'"),
    ({"advantage_estimator_kwargs": {"eta": True}}, r"advantage_estimator_kwargs: eta must be a number, got True"),
    (POSTERIOR | {"advantage_estimator_kwargs": {"memory_size": 2.0}}, r"memory_size must be a whole number, got 2.0"),
    (POSTERIOR | {"advantage_estimator_kwargs": {"memory_size": -1}}, r"memory_size must be at least 1, got -1"),
    (POSTERIOR | {"advantage_estimator_kwargs": {"memory_size": "1e8"}}, r"memory_size must be a whole number"),
    (
        POSTERIOR | {"advantage_estimator_kwargs": {"credit_length_scale": "x"}},
        r"credit_length_scale must be a number",
    ),
    ({"lr_scheduler_type": "cosin"}, r"lr_scheduler_type must be one of linear, .*; got 'cosin'"),
    ({"save_strategy": "sometimes"}, r"save_strategy must be one of no, .*; got 'sometimes'"),
    ({"save_steps": 0}, r"save_steps must be above 0"),
    ({"output_dir": " "}, r"output_dir=' ' names no folder"),
]


@pytest.mark.parametrize("values, message", REFUSED, ids=range(len(REFUSED)))
def test_wrong_values_are_named(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        RSSConfig(**{"output_dir": str(tmp_path)} | values)


def test_the_same_checks_without_rewards(tmp_path):
    with pytest.raises(ValueError, match="weight_decay must be a finite number"):
        SegmentationConfig(str(tmp_path), weight_decay=NAN)
    with pytest.raises(ValueError, match="model_init_kwargs must be a mapping"):
        SegmentationConfig(str(tmp_path), model_init_kwargs=[1])


def test_right_values_of_other_types_are_taken(tmp_path):
    args = RSSConfig(
        Path(tmp_path),
        learning_rate=1,
        num_samples=np.int64(4),
        strides=(8, 4),
        entropy_coef=np.float32(0),
        save_steps=0.5,
        advantage_estimator_kwargs='{"eta": 1}',
        reward_funcs="mean_iou",
    )
    assert (args.num_samples, args.save_steps, args.reward_funcs) == (4, 0.5, ["mean_iou"])
    assert args.advantage_estimator_kwargs == {"eta": 1} and args.estimator_config().eta == 1
    for name in recipe_names():
        RSSConfig(str(tmp_path), **recipe(name))
