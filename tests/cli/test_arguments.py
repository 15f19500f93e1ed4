from dataclasses import dataclass, field

import pytest

from rss_hf import RSSConfig
from rss_hf.cli.arguments import parse_args


@dataclass
class Arguments:
    learning_rate: float = 1.0
    scales: list[int] = field(default_factory=lambda: [4])
    do_train: bool = False
    name: str | None = None


def test_the_command_line_overrides_the_file_which_overrides_the_defaults(tmp_path):
    config = tmp_path / "recipe.yaml"
    config.write_text("learning_rate: 1e-3\nscales: [16, 8]\ndo_train: true\nname: null\n")
    (arguments,) = parse_args(Arguments, argv=["--config", str(config), "--scales", "2"])
    assert arguments == Arguments(learning_rate=1e-3, scales=[2], do_train=True)


def test_unknown_names_are_refused_with_the_nearest(tmp_path):
    config = tmp_path / "recipe.yaml"
    config.write_text("learning_rte: 1e-3\n")
    with pytest.raises(ValueError, match="recipe.yaml: unknown argument 'learning_rte'. Did you mean 'learning_rate'"):
        parse_args(Arguments, argv=["--config", str(config)])
    with pytest.raises(ValueError, match="command line: unknown argument 'scale'. Did you mean 'scales'"):
        parse_args(Arguments, argv=["--scale", "4"])
    with pytest.raises(ValueError, match="no argument: stray"):
        parse_args(Arguments, argv=["stray"])


def test_bad_files(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        parse_args(Arguments, argv=["--config", str(tmp_path / "none.yaml")])
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(ValueError, match="got a list"):
        parse_args(Arguments, argv=["--config", str(tmp_path / "list.yaml")])


@pytest.mark.parametrize(
    "fault, message",
    [
        ({"num_samples": 1}, "at least 2"),
        ({"num_samples": 0, "credit": "none"}, "or 1 with credit='none'; got 0"),
        ({"num_samples": 1, "credit": "none", "advantage_normalization": "group"}, "leaves its sign alone"),
        ({"scales": [4, 8]}, "coarse to fine"),
        ({"credit": "reinforce"}, "credit must be one of"),
        ({"advantage_normalization": "site"}, "advantage_normalization must be one of"),
        ({"credit": "coupled", "num_samples": 3}, "must be even"),
    ],
)
def test_bad_configurations_are_refused(fault, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        RSSConfig(output_dir=str(tmp_path), **fault)
