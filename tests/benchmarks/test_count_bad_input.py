"""The tests that are counted are there, and each case counts once."""

from pathlib import Path

import pytest
from count_bad_input import TABLES, count


TESTS = Path(__file__).parents[1]
NAMES = [test for tests in TABLES.values() for test in tests.split()]


def test_each_test_is_there_and_in_one_table():
    assert len(set(NAMES)) == len(NAMES)
    for name in NAMES:
        file, _, function = name.partition("::")
        assert f"\ndef {function}(" in (TESTS / file).read_text(), name


def test_cases_are_counted():
    collected = [f"tests/{name}[{case}]" for name in NAMES for case in ("a", "b::c")]
    assert count([*collected, "tests/other.py::test_x[1]"]) == {
        table: 2 * len(tests.split()) for table, tests in TABLES.items()
    }
    with pytest.raises(ValueError, match=f"Not collected: {NAMES[0]}. Name"):
        count(collected[2:])
