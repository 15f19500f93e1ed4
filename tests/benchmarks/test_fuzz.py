"""The fuzzer finds what is planted, and its targets are clean."""

import fuzz as fuzzer
import pytest
from fuzz import TARGETS, fuzz, main
from hypothesis import strategies as st


def above_a_thousand(data):
    number = data.draw(st.integers())
    if number > 1000:
        raise KeyError(number)


def test_the_exit_code_and_the_record_are_those_of_errors(monkeypatch, capsys):
    recorded = []
    monkeypatch.setattr(fuzzer, "append_record", lambda path, record: recorded.append(record))
    monkeypatch.setitem(TARGETS, "planted", above_a_thousand)
    monkeypatch.setitem(TARGETS, "clean", lambda data: data.draw(st.integers()))
    for name, code in {"planted": 1, "clean": 0}.items():
        with pytest.raises(SystemExit) as end:
            main(["--seconds", "4", "--targets", name, "--record"])
        assert end.value.code == code and f"| {code} |" in capsys.readouterr().out
        assert recorded[-1]["target"] == name and recorded[-1]["undocumented_errors"] == code
        assert recorded[-1]["executions"] > 0 and recorded[-1]["commit"]


@pytest.mark.parametrize("name", list(TARGETS))
def test_a_target_is_clean(name):
    executions, errors = fuzz(TARGETS[name], seconds=1)
    assert executions > 0 and errors == []
