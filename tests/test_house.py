"""The wall: no module of the policy-gradient path but the rewards reads labels."""

import ast
from pathlib import Path

import pytest


PACKAGE = Path(__file__).parents[1] / "rss_hf"
PATH_OF_THE_GRADIENT = [
    *PACKAGE.glob("policy/*.py"),
    *PACKAGE.glob("advantages/**/*.py"),
    *(PACKAGE / "training" / f"{name}.py" for name in ("rss_trainer", "rollouts", "loss", "running_metrics")),
]


def label_reads(source):
    """Names, attributes, keys and arguments of a module by which labels could be read."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr=name) | ast.Name(id=name) | ast.arg(arg=name) | ast.Constant(value=str(name)):
                if name.strip("_") in ("labels", "references"):
                    yield f"line {node.lineno}: {name}"


@pytest.mark.parametrize("path", PATH_OF_THE_GRADIENT, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_labels_are_out_of_reach(path):
    assert list(label_reads(path.read_text())) == []


def test_a_way_around_the_wall_would_be_found():
    for code in ("inputs['labels']", "batch._labels", "references.mean()", "def weights(self, labels): ..."):
        assert list(label_reads(code))
