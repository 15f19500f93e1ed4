from dataclasses import dataclass, field
from pathlib import Path

import pytest

import rss_hf.recipes
from rss_hf import RSSConfig
from rss_hf.cli.arguments import AugmentationArguments, DataArguments, ModelArguments, parse_args


CONFIGS = Path(__file__).parents[2] / "configs"


@dataclass
class Arguments:
    learning_rate: float = 1.0
    strides: list[int] = field(default_factory=lambda: [4])
    do_train: bool = False
    name: str | None = None
    kwargs: str | None = None


@pytest.fixture
def write(tmp_path):
    """A function that writes a YAML file and gives its path."""

    def write(text, name="run.yaml"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(tmp_path / name)

    return write


def test_the_command_line_overrides_the_file_which_overrides_the_defaults(write):
    config = write("learning_rate: 1e-3\nstrides: [16, 8]\ndo_train: true\nname: null\nkwargs: {a: 1, b: no}\n")
    (arguments,) = parse_args(Arguments, argv=["--config", config, "--strides", "2"])
    assert arguments == Arguments(1e-3, strides=[2], do_train=True, kwargs='{"a": 1, "b": "no"}')
    assert parse_args(Arguments, argv=["--do-train"]) == (Arguments(do_train=True),)


def test_a_recipe_lies_between_the_file_and_the_command_line(write, tmp_path):
    config = write("seed: 3\nnum_samples: 9\nlearning_rate: 0.5\nreward_weights: [7]\nstride_warmup: 0.1\n")
    line = ["--config", config, "--recipe", "default", "--output_dir", str(tmp_path / "out")]
    (args,) = parse_args(RSSConfig, argv=[*line, "--num_samples", "5"])
    assert (args.num_samples, args.stride_warmup, args.learning_rate, args.seed) == (5, 0.2, 0.5, 3)
    assert args.reward_weights is None  # the recipe's null is the default, also over a file
    assert args.lr_scheduler_type == "linear"


def test_sources_are_given_once_and_exist(write):
    config = write("do_train: true\n")
    with pytest.raises(ValueError, match="--config is given 2 times: .*run.yaml, .*run.yaml. Give it once"):
        parse_args(Arguments, argv=["--config", config, "--config", config])
    with pytest.raises(ValueError, match="--recipe is given 2 times: default, few_calls"):
        parse_args(RSSConfig, argv=["--recipe", "default", "--recipe=few_calls"])
    with pytest.raises(ValueError, match="no recipe 'few_cals'. Did you mean 'few_calls'.* are areas_or_tags, coarse"):
        parse_args(RSSConfig, argv=["--recipe", "few_cals"])
    with pytest.raises(ValueError, match="none.yaml: there is no such file"):
        parse_args(Arguments, argv=["--config", "none.yaml"])
    for name in ("a" * 5000, "\0", "."):
        with pytest.raises(ValueError, match="cannot be read: .*too long|there is no such file|null byte"):
            parse_args(Arguments, argv=["--config", name])
    with pytest.raises(ValueError, match="argument --config: expected one argument"):
        parse_args(Arguments, argv=["--config"])
    for name in ("config", "recipe"):
        with pytest.raises(ValueError, match=f"--{name} names nothing|--{name}: expected one argument"):
            parse_args(RSSConfig, argv=[f"--{name}=--"])
    with pytest.raises(ValueError, match="command line: unknown argument 'recipe'"):  # a command without recipes
        parse_args(Arguments, argv=["--recipe", "default"])


def test_unknown_names_are_refused_with_the_nearest(write, tmp_path, monkeypatch):
    config = write("learning_rte: 1e-3\n")
    with pytest.raises(ValueError, match="run.yaml: unknown argument 'learning_rte'. Did you mean 'learning_rate'"):
        parse_args(Arguments, argv=["--config", config])
    with pytest.raises(ValueError, match="command line: unknown argument 'stride'. Did you mean 'strides'"):
        parse_args(Arguments, argv=["--stride", "4"])
    with pytest.raises(ValueError, match="command line: unknown argument 'learning_rat'. Did you mean"):
        parse_args(Arguments, argv=["--learning-rat=4"])
    with pytest.raises(ValueError, match="no argument: stray"):
        parse_args(Arguments, argv=["stray"])
    with pytest.raises(ValueError, match="no argument: 8"):
        parse_args(Arguments, argv=["--name", "a", "8"])
    write("num_sample: 8\n", "mine.yaml")
    monkeypatch.setattr(rss_hf.recipes, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="recipe mine: unknown argument 'num_sample'. Did you mean 'num_samples'"):
        parse_args(RSSConfig, argv=["--recipe", "mine"])


def test_values_of_the_wrong_kind_are_refused_where_they_stand(write):
    config = write("learning_rate: fast\n")
    with pytest.raises(
        ValueError, match="run.yaml: argument --learning_rate.*invalid float value: 'fast'. See --help"
    ):
        parse_args(Arguments, argv=["--config", config])
    with pytest.raises(ValueError, match="command line: argument --learning_rate.*'slow'"):
        parse_args(Arguments, argv=["--config", config, "--learning_rate", "slow"])
    with pytest.raises(ValueError, match="run.yaml: argument --strides.*expected at least one argument"):
        parse_args(Arguments, argv=["--config", write("strides: []\n")])
    with pytest.raises(ValueError, match="argument --objective: invalid choice: 'labels'"):
        parse_args(ModelArguments, argv=["--objective", "labels"])


@pytest.mark.parametrize(
    "text, message",
    [
        ("- a\n", r"run.yaml: expected lines of 'name: value', got a list"),
        ("", r"run.yaml: expected lines of 'name: value', got a NoneType"),
        ("name: a\nstrides: [4\n", r"run.yaml, line 3: expected ',' or ']'"),
        ("name: a\ndo_train: true\nname: b\n", r"run.yaml, line 3: 'name' stands there for the second time"),
        ("kwargs:\n  a: 1\n  a: 2\n", r"run.yaml, line 3: 'a' stands there for the second time"),
        (b"name: \xff\n", r"run.yaml is not a text file of YAML"),
        (b"name: \x00\n", r"run.yaml is not a text file of YAML"),
    ],
)
def test_files_that_are_no_mapping_name_the_line(write, text, message):
    with pytest.raises(ValueError, match=message):
        parse_args(Arguments, argv=["--config", write(text)])


def test_only_true_and_false_are_booleans_in_a_file(write, tmp_path):
    config = write(f"save_strategy: no\neval_strategy: off\ndo_train: false\noutput_dir: {tmp_path}\n")
    with pytest.raises(ValueError, match="off"):  # not False
        parse_args(RSSConfig, argv=["--config", config])
    (args,) = parse_args(RSSConfig, argv=["--config", config, "--eval_strategy", "no"])
    assert (args.save_strategy, args.do_train) == ("no", False)


def test_one_image_size_is_a_square_and_other_numbers_are_refused():
    for words, size in {"64": [64, 64], "64 80": [64, 80]}.items():
        assert parse_args(AugmentationArguments, argv=["--image_size", *words.split()])[0].image_size == size
    for words in ("1 2 3", "0", "-32", "8 -8", "100000", "32 100000"):
        with pytest.raises(ValueError, match=r"image_size=\[.*must be a height and a width, or one side"):
            parse_args(AugmentationArguments, argv=["--image_size", *words.split()])
    for words in ("1", "2 1", "0 1", "-1 1", "1 1 1", "1000 1000", "1 1e9", "nan 1", "1 nan", "1 inf", "1e-9 1"):
        with pytest.raises(ValueError, match=r"scale_range=\[.*must be two numbers from 0.1 to 10"):
            parse_args(AugmentationArguments, argv=["--scale_range", *words.split()])


def test_negative_numbers_are_values_in_every_notation(write, tmp_path):
    for word in ("-1", "-.5", "-0.5", "-1.", "-1e-3", "-2.5E+3"):
        assert parse_args(Arguments, argv=["--learning_rate", word]) == (Arguments(float(word)),)
    config = write(f"reward_weights: [1, -0.00001]\noutput_dir: {tmp_path}\n")
    assert parse_args(RSSConfig, argv=["--config", config])[0].reward_weights == [1, -1e-5]


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_configs_hold_what_train_takes(config):
    types = (ModelArguments, DataArguments, AugmentationArguments, RSSConfig)
    line = ["--config", str(config), "--bf16", "false"]
    *_, args = parse_args(*types, argv=line)
    assert args.output_dir == f"outputs/{config.stem}" and args.do_train
    assert args.strides == ([2] if config.stem == "shapes" else [4])


def test_names_of_trl_are_answered_with_ours():
    with pytest.raises(ValueError, match="unknown argument 'num_generations'. Did you mean 'num_samples'"):
        parse_args(RSSConfig, argv=["--num_generations", "8", "--output_dir", "out"])
