"""Answers on disk: kept whole, found again, whatever ended the run that wrote them."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from rss_hf.feedback import Answer, FeedbackStore, digest


def answer(key, score=0.5):
    return Answer(key, "judge", "image 1", "PNG", score, "2026-12-01T00:00:00+00:00")


def test_an_answer_is_on_disk_before_it_is_used(tmp_path):
    store = FeedbackStore(tmp_path / "feedback")
    assert not (tmp_path / "feedback").exists() and "a" not in store
    store.append([answer("a"), answer("b", None)])
    again = FeedbackStore(tmp_path / "feedback")  # while the first is still open
    assert len(again) == 2 and again["a"] == 0.5 and again["b"] is None and "b" in again
    with pytest.raises(KeyError):
        again["c"]


def test_each_store_appends_to_a_file_of_its_own(tmp_path):
    for key in "abc":
        FeedbackStore(tmp_path).append([answer(key)])
    assert len(list(tmp_path.glob("*.jsonl"))) == 3 and len(FeedbackStore(tmp_path)) == 3


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_that_was_cut_off_is_asked_for_again(tmp_path, cut, caplog):
    FeedbackStore(tmp_path).append([answer("a"), answer("b")])
    (path,) = tmp_path.glob("*.jsonl")
    path.write_bytes(path.read_bytes()[: -1 - cut])
    with caplog.at_level(logging.WARNING):
        store = FeedbackStore(tmp_path)
    assert "a" in store and "b" not in store and "ends within an answer" in caplog.text
    store.append([answer("b", 0.25)])
    assert FeedbackStore(tmp_path)["b"] == 0.25


def test_a_file_that_holds_something_else_is_named(tmp_path):
    (tmp_path / "notes.jsonl").write_text('{"mine": 1}\n')
    with pytest.raises(ValueError, match=r"notes.jsonl, line 1, is no answer"):
        FeedbackStore(tmp_path)


def test_threads_do_not_mix_lines(tmp_path):
    store = FeedbackStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: store.append([answer(f"{i}-{j}", i + j / 10) for j in range(5)]), range(40)))
    again = FeedbackStore(tmp_path)
    assert len(again) == 200 and all(again[f"{i}-{j}"] == i + j / 10 for i in range(40) for j in range(5))


def test_a_digest_tells_its_parts_apart():
    assert digest("ab", "c") != digest("a", "bc") != digest(b"abc")
    assert digest("ab", b"c") == digest(b"ab", "c") and len(digest("")) == 32
