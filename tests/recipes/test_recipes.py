import json
import re
from pathlib import Path

import pytest
import torch
from helpers.commands import run, write_example

import rss_hf.recipes
from rss_hf import RSSConfig
from rss_hf.cli import train
from rss_hf.cli.arguments import AugmentationArguments, DataArguments, ModelArguments, parse_args
from rss_hf.recipes import recipe, recipe_names


NAMES = [
    "areas_or_tags",
    "coarse_judge",
    "costly_judge",
    "default",
    "few_calls",
    "few_calls_pretrained",
    "long_training",
    "pixel_reward",
    "pretrained_encoder",
    "tune_for_a_metric",
]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_example(tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="module")
def without_masks(config):
    """The same images as a folder with the areas of their classes in metadata.jsonl."""
    for path in sorted((config.parent / "images").iterdir()):
        lines = [{"file_name": file.name, "class_areas": [0.5, 0.25, 0.25]} for file in sorted(path.iterdir())]
        (path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return config.parent / "images"


def test_the_names():
    assert recipe_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_trains_by_its_own_settings(config, without_masks, tmp_path, name):
    steps = 6  # a multiple of every recipe's num_iterations
    run(
        train.main,
        *("--config", config, "--recipe", name, "--output_dir", tmp_path, "--max_steps", steps),
        *("--save_strategy", "no", "--eval_strategy", "no"),
        *(("--dataset_name", without_masks) if name == "areas_or_tags" else ()),
    )
    args = torch.load(tmp_path / "training_args.bin", weights_only=False)
    for field, value in recipe(name).items():
        assert getattr(args, field) == value, field
    history = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    rewards = [entry["reward"] for entry in history if "reward" in entry]
    assert len(rewards) == steps // args.num_iterations and all(map(torch.isfinite, torch.tensor(rewards)))
    assert history[-1]["reward_calls"] == len(rewards) * 4 * args.num_samples


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_configuration_in_python(tmp_path, name):
    args = RSSConfig(**recipe(name), output_dir=str(tmp_path))
    for field, value in recipe(name).items():
        assert getattr(args, field) == value, field


def test_the_default_recipe_is_the_defaults(tmp_path):
    defaults = RSSConfig(str(tmp_path))
    assert recipe("default") == {field: getattr(defaults, field) for field in recipe("default")}
    assert len(recipe("default")) == 10


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_is_for_and_what_it_was_measured_at(name):
    purpose, measured, *_ = (rss_hf.recipes.FOLDER / f"{name}.yaml").read_text().splitlines()
    assert re.fullmatch(r"# For: .{20,}\.", purpose)
    assert re.fullmatch(
        r"# Measured: .+ \d+ steps.*: mIoU 0\.\d{3}, \d\.\d{3} of cross-entropy, \d seeds; \d+ s, one core\.", measured
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_belongs_together_is_said_together(name):
    """A recipe over a config must not leave the weights of other rewards, or the settings of another estimator."""
    settings = recipe(name)
    assert ("reward_funcs" in settings) == ("reward_weights" in settings)
    assert "advantage_estimator" not in settings or "advantage_estimator_kwargs" in settings
    assert "advantage_estimator_kwargs" not in settings or "advantage_estimator" in settings


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_each_goes_over_each_config(name, path, tmp_path):
    classes = (ModelArguments, DataArguments, AugmentationArguments, RSSConfig)
    argv = ["--config", str(path), "--recipe", name, "--output_dir", str(tmp_path), "--use_cpu"]
    *_, args = parse_args(*classes, argv=argv)
    for field, value in recipe(name).items():
        assert getattr(args, field) == value, field


def test_a_misspelled_key_is_no_configuration(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("num_sample: 4\n")
    monkeypatch.setattr(rss_hf.recipes, "FOLDER", tmp_path)
    with pytest.raises(TypeError, match="num_sample"):
        RSSConfig(**recipe("mine"))
    (tmp_path / "mine.yaml").write_text("advantage_estimator_kwargs: {confidence_coef: 4}\n")
    with pytest.raises(ValueError, match="no setting 'confidence_coef'"):
        RSSConfig(**recipe("mine"))


def test_an_unknown_recipe_lists_the_names():
    with pytest.raises(ValueError, match=f"no recipe 'nothing'. The recipes are {', '.join(NAMES)}"):
        recipe("nothing")
