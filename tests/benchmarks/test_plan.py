"""Every method of the benchmark is one that training takes, and every row of a table one that there is."""

import pytest
import torch
from plan import DATA, METHODS, SUITES, configuration, source_of
from record import read_records, records_of
from rivals import LOSSES

from rss_hf import RSSConfig
from rss_hf.cli.arguments import AugmentationArguments, DataArguments, ModelArguments, as_command_line, parse_args
from rss_hf.rewards import get_reward


ROWS = [row for suite in SUITES.values() for row in suite["rows"]]


def parse(options, tmp_path):
    """What training makes of the options, by its own parser: an unknown name is refused, the estimator's too."""
    assert options.get("rival", "areas") in LOSSES
    options = {name: value for name, value in options.items() if name != "rival"}
    argv = as_command_line(options | {"output_dir": str(tmp_path), "use_cpu": True})
    return parse_args(ModelArguments, DataArguments, AugmentationArguments, RSSConfig, argv=argv)


@pytest.mark.parametrize("method", METHODS)
def test_training_takes_every_method(method, tmp_path):
    data = {row["data"] for row in ROWS if row["method"] == method} or {"shapes"}
    for name in sorted(data):
        options = configuration({"data": name, "method": method}, seed=3)
        model_args, data_args, _, args = parse(options, tmp_path)
        assert [args.seed, args.num_samples, args.strides] == [3, options["num_samples"], options["strides"]]
        assert args.advantage_estimator_kwargs == options["advantage_estimator_kwargs"]
        by_labels = options.get("objective") == "cross_entropy"
        assert model_args.objective == ("cross_entropy" if by_labels else "reward")
        assert all(map(get_reward, args.reward_funcs))
        assert data_args.dataset_name == options["dataset_name"]


@pytest.mark.parametrize(
    ("misspelled", "message"),
    [
        ({"num_sampels": 4}, "num_sampels.*Did you mean 'num_samples'"),
        ({"advantage_estimator_kwargs": {"confidence_coef": 1}}, "no setting 'confidence_coef'"),
        ({"reward_funcs": ["mean_iuo"]}, "mean_iuo"),
    ],
)
def test_a_misspelled_option_is_refused(misspelled, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        _, _, _, args = parse(configuration({"data": "shapes", "method": "default"}) | misspelled, tmp_path)
        get_reward(args.reward_funcs[0])


def test_later_options_count():
    row = {"data": "shapes-2000", "method": "few_calls, 1000 images"}
    options = configuration(row)
    assert [options["max_steps"], options["max_train_samples"]] == [2000, 1000]  # of data, method
    assert [options["num_samples"], options["learning_rate"]] == [
        4,
        7e-4,
    ]  # of the recipe, over the data's 128 and 1e-3
    assert configuration(row | {"learning_rate": 0.5})["learning_rate"] == 0.5
    assert "output_dir" not in options
    options = configuration({"data": "voc-frozen", "method": "default"})
    assert options["dataset_name"] == "voc" and options["model_name_or_path"].startswith("UperNet")


def test_stars_are_five_fifths():
    labels = torch.arange(4).reshape(1, 2, 2)
    stars = get_reward("examples.star_judge:stars")
    assert stars(predictions=labels, references=labels).tolist() == [5.0]
    assert stars(predictions=labels.clamp(max=1), references=labels).tolist() == [1.0]  # IoU 1, 1/3, 0, 0


def test_a_source_is_one_file():
    assert {source_of(data) for data in DATA} == {"shapes", "camvid", "voc"}
    assert all(len(read_records(records_of(source))) > 50 for source in ("shapes", "camvid", "voc"))
