"""Which models the demo holds, what it refuses, and that loading one stops no other."""

import dataclasses
import re
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.demo_server import NAMES, photo, save_model

import rss_hf.demo.models as models
from rss_hf.demo.images import Refusal
from rss_hf.demo.learning import draw
from rss_hf.demo.models import MAX_HELD, Loaded, Models, different_names, load
from rss_hf.demo.page import description
from rss_hf.demo.segment import segment


@pytest.fixture
def loads(monkeypatch):
    """The names that were loaded; `gates` holds back those it has an event for, `broken` fails."""
    loads = SimpleNamespace(names=[], gates={}, broken=set())

    def load(name, local, trusted):
        loads.names.append((name, trusted))
        if name in loads.gates:
            assert loads.gates[name].wait(20)
        if name in loads.broken:
            raise Refusal(f"{name} is broken.")
        return Loaded(name, False, None, None, [], 255, None, None)

    monkeypatch.setattr(models, "load", load)
    return loads


def in_thread(function, *arguments):
    """Starts it; the thread's `answer` is what it returned or raised."""

    def run():
        try:
            thread.answer = function(*arguments)
        except Refusal as refusal:
            thread.answer = refusal

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_models_are_loaded_when_asked_for_and_the_last_ones_held(loads):
    held = Models("own", local=False)
    assert loads.names == []
    assert held.get().title == held.get(" ").title == held.get("own").title == "own"
    for name in ("a", "b", "a", "c", "own"):
        assert held.get(name).title == name
    assert MAX_HELD == 2
    assert loads.names == [("own", True), ("a", False), ("b", False), ("c", False)]
    held.get("a")
    held.get("b")
    assert loads.names[4:] == [("b", False)]


def test_the_others_answer_while_one_is_loaded(loads):
    held = Models("own", local=False)
    held.get()
    loads.gates["slow"] = threading.Event()
    slow = in_thread(held.get, "slow")
    while ("slow", False) not in loads.names:
        pass
    assert held.get().title == "own"
    with pytest.raises(Refusal, match="Another model is being loaded. Try again in a minute."):
        held.get("other")
    with pytest.raises(Refusal, match="This model is being loaded. Try again in a minute."):
        held.get("slow")
    loads.gates["slow"].set()
    slow.join()
    assert slow.answer is held.get("slow") and held.get("other").title == "other"


def test_all_wait_for_the_pages_own_model(loads):
    held = Models("own", local=False)
    loads.gates["own"] = threading.Event()
    threads = [in_thread(held.get) for _ in range(4)]
    loads.gates["own"].set()
    for thread in threads:
        thread.join()
    assert loads.names == [("own", True)] and len({id(thread.answer) for thread in threads}) == 1


def test_a_failure_is_said_to_all_who_wait_and_tried_again(loads):
    held = Models("own", local=False)
    loads.broken.add("own")
    for _ in range(2):
        with pytest.raises(Refusal, match="own is broken."):
            held.get()
    loads.broken.clear()
    assert held.get().title == "own" and len(loads.names) == 3


def test_folders_are_for_visitors_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "org" / "tiny")
    (tmp_path / "org" / "tiny" / "trainer_state.json").write_text('{"global_step": 150}')
    loaded = load("org/tiny", local=True, trusted=False)
    assert (loaded.title, loaded.is_local, loaded.class_names, loaded.steps) == ("tiny", True, NAMES, 150)
    assert loaded.ignore_index == 255
    assert load("org/tiny", local=False, trusted=True).title == "tiny"
    monkeypatch.setattr(models, "download", lambda *arguments: arguments)
    with pytest.raises(Refusal, match="The model 'org/tiny' cannot be loaded"):
        load("org/tiny", local=False, trusted=False)


def test_visitors_use_no_token_and_load_nothing_large(monkeypatch, tmp_path):
    tokens = []

    def metadata(url, token):
        tokens.append(token)
        return SimpleNamespace(size=(1 << 30) + 1, commit_hash="abc")

    monkeypatch.setattr(models, "get_hf_file_metadata", metadata)
    monkeypatch.setattr(models, "snapshot_download", lambda *names, **options: tmp_path)
    with pytest.raises(Refusal, match="The file model.safetensors of 'org/name' has more than 1 GiB"):
        models.download("org/name", local=False, trusted=False)
    assert models.download("org/name", local=False, trusted=True) == tmp_path
    assert tokens == [False, None]


@pytest.mark.parametrize("module", ["decode_head", "segformer"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_damaged_weights_get_a_sentence(tmp_path, module, value):
    save_model(tmp_path)
    loaded = load(str(tmp_path), local=True, trusted=False)
    for parameter in loaded.model.get_submodule(module).parameters():
        parameter.data.fill_(value)
    reference = np.zeros((44, 60), np.uint8)
    for answer in (
        lambda: segment(loaded, photo()),
        lambda: segment(loaded, photo(), window=32),
        lambda: draw(loaded, photo(), reference, 2, 8, "mean_iou", "leave_one_out", 0),
    ):
        with pytest.raises(Refusal, match="The model's answer for this image is not finite"):
            answer()


@pytest.mark.parametrize("trusted", [True, False])
def test_more_classes_than_a_mask_can_name_are_refused(tmp_path, trusted):
    save_model(tmp_path, names=[f"class {i}" for i in range(256)])
    with pytest.raises(Refusal, match="The model has 256 classes; up to 255 fit a mask."):
        load(str(tmp_path), local=True, trusted=trusted)


def test_class_names_are_different_and_harmless():
    names = different_names({0: "wall", 1: "sky", 2: "wall", 3: "<img src=x>[a](b)" + "x" * 99})
    assert names[:3] == ["wall (0)", "sky", "wall (2)"]
    assert names[3].startswith("img srcxa(b)xx") and len(names[3]) == 40
    assert different_names({0: "<>", 1: " # a  b\n", 2: "\u202eabc"}) == ["class 0", "a b", "abc"]


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("<img src=x onerror=alert(1)>", ["<script>alert(1)</script>", "b"]),
        ("**bold** _it_ `code`", ["*a*", "_b_", "__c__"]),
        ("[text](http://127.0.0.1:9)", ["![x](http://127.0.0.1:9/x.png)", "http://127.0.0.1:9", "www.example.com"]),
        ("a&lt;b&gt;", ["&lt;img src=x&gt;", "&#60;b&#62;"]),
        ("$$x^2$$ \\(y\\)", ["# heading", "1. list", "- item", "> quote", "| a | b |"]),
    ],
)
def test_what_models_are_called_is_text_on_the_page(tmp_path, title, names):
    (tmp_path / "m").mkdir()
    save_model(tmp_path / "m", names=names)
    loaded = dataclasses.replace(load(str(tmp_path / "m"), local=True, trusted=False), title=title)
    shown = description(loaded)
    for text in (title, ", ".join(different_names(dict(enumerate(names))))):
        assert re.sub(r"(\W)", r"\\\1", text).replace("\\ ", " ").replace("_", "\\_") in shown
