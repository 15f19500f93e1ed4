"""The fuzzer finds what is planted, says it once and smallest, and its targets are clean."""

import pytest
from fuzz import TARGETS, fuzz, main
from hypothesis import strategies as st


def above_a_thousand(data):
    number = data.draw(st.integers())
    if number > 1000:
        raise KeyError(number)


def test_a_planted_error_is_found_once_with_its_smallest_input():
    executions, (error,) = fuzz(above_a_thousand, seconds=2)
    assert executions > 200 and "KeyError: 1001" in error and "Draw 1: 1001" in error


def test_the_exit_code_is_that_of_errors(monkeypatch, capsys):
    monkeypatch.setitem(TARGETS, "planted", above_a_thousand)
    monkeypatch.setitem(TARGETS, "clean", lambda data: data.draw(st.integers()))
    for name, code in {"planted": 1, "clean": 0}.items():
        with pytest.raises(SystemExit) as end:
            main(["--seconds", "0.5", "--targets", name])
        assert end.value.code == code and f"| {code} |" in capsys.readouterr().out


@pytest.mark.parametrize("name", list(TARGETS))
def test_a_target_is_clean(name):
    executions, errors = fuzz(TARGETS[name], seconds=1)
    assert executions > 0 and errors == []
