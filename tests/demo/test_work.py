"""The work of a request: counted right before it is done, refused where it is too much, ended when it is late."""

import threading
import time

import numpy as np
import pytest
import torch
from helpers.demo_server import model_folder, photo, save_hostile
from helpers.models import mobilenet, upernet
from PIL import Image
from torch import nn
from transformers import (
    BeitImageProcessor,
    DPTImageProcessor,
    MobileNetV2ImageProcessor,
    MobileViTImageProcessor,
    SegformerImageProcessor,
)

import rss_hf.demo.work as work
from rss_hf.demo.images import Refusal
from rss_hf.demo.learning import draw
from rss_hf.demo.models import empty_model, load
from rss_hf.demo.segment import segment
from rss_hf.demo.work import PER_ELEMENT, Counter, DryRun, Turns


@pytest.fixture(scope="module")
def loaded():
    return load(str(model_folder()), local=True, trusted=True)


def test_operations_are_counted_as_by_hand():
    layers = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Flatten(2)).to("meta")
    counter = Counter("It", 10**9)
    with torch.no_grad(), counter:
        layers(torch.empty(1, 3, 7, 9, device="meta"))
    image, maps = 3 * 7 * 9, 5 * 7 * 9
    assert counter.operations == 2 * maps * 3 * 3 * 3 + PER_ELEMENT * (image + maps + maps)
    assert counter.calls == 4  # with the one that makes the image


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda x: x @ x, "It takes more than 1 billion operations"),
        (lambda x: [x + 1 for _ in range(40)], "It takes more than 1 billion operations"),
        (lambda x: x[:, :1].expand(-1, 10**7).contiguous(), "It takes more than 1 billion operations"),
        (lambda x: [x[0, 0].clone() for _ in range(20_001)], "It has too many steps"),
    ],
)
def test_what_is_too_much_ends_the_count(function, sentence):
    with pytest.raises(Refusal, match=sentence), Counter("It", 10**9):
        function(torch.empty(1000, 1000, device="meta"))
    with pytest.raises(Refusal, match="It takes more than 4 GiB of memory"), Counter("It", 10**15):
        torch.empty(1 << 30, 2, device="meta")


def test_only_what_is_held_at_once_counts_as_memory():
    with Counter("It", 10**15):
        for _ in range(10):
            torch.empty(1 << 28, 3, device="meta").view(-1).t()  # 3 GiB
        held = torch.empty(1 << 28, 3, device="meta")
        with pytest.raises(Refusal, match="4 GiB of memory"):
            torch.empty(1 << 28, 3, device="meta")
        assert held.shape == (1 << 28, 3)


@pytest.mark.parametrize("make", [upernet, mobilenet])
def test_architectures_of_transformers_can_be_counted(make):
    model = make().eval()
    dry_run = DryRun(empty_model(model.config), SegformerImageProcessor(), 10**12)
    small, large = dry_run.operations(64, 64), dry_run.operations(128, 64)
    assert 1.5 < large / small < 2.5


@pytest.mark.parametrize("size", [(60, 44), (44, 60), (3, 3), (200, 5), (640, 480)])
@pytest.mark.parametrize(
    "processor",
    [
        SegformerImageProcessor(size={"height": 32, "width": 48}),
        SegformerImageProcessor(do_resize=False),
        BeitImageProcessor(),
        DPTImageProcessor(size={"height": 64, "width": 64}, keep_aspect_ratio=True, ensure_multiple_of=32),
        MobileNetV2ImageProcessor(),
        MobileNetV2ImageProcessor(size={"shortest_edge": 32}, do_center_crop=False),
        MobileViTImageProcessor(),
    ],
    ids=lambda processor: type(processor).__name__,
)
def test_the_size_of_the_input_is_known_before_it_is_made(processor, size):
    dry_run = DryRun(None, processor, 10**12)
    try:
        made = processor(images=Image.new("RGB", size), return_tensors="pt")["pixel_values"]
    except ValueError:  # DPT's makes strips of no height
        with pytest.raises(Refusal, match=f"cannot take an image of {size[0]} x {size[1]} pixels"):
            dry_run.input_size(*size)
    else:
        assert dry_run.input_size(*size) == tuple(made.shape[-2:])


def test_sizes_that_a_model_cannot_take_get_a_sentence():
    model = upernet().eval()
    dry_run = DryRun(empty_model(model.config), SegformerImageProcessor(), 10**12)
    with pytest.raises(Refusal, match="The model cannot take an input of 2 x 3 pixels"):
        dry_run.check((3, 2))


LARGE = {"size": {"height": 512, "width": 512}}
ONE = {"strides": [1, 1, 1, 1]}


@pytest.mark.parametrize(
    ("config", "processor", "sentence"),
    [
        (ONE, LARGE, "A pass of the model over 512 x 512 pixels takes more than"),
        (ONE | {"sr_ratios": [1, 1, 1, 1]}, {"size": {"height": 128, "width": 128}}, "takes more than"),
        (ONE | {"hidden_sizes": [64, 64, 64, 64]}, {"size": {"height": 96, "width": 300}}, "takes more than"),
        ({"decoder_hidden_size": 4096}, LARGE, "A pass of the model over 512 x 512 pixels takes more than"),
        ({}, {"size": {"height": 4096, "width": 4096}}, "A pass of the model over 4096 x 4096 pixels takes more than"),
        ({}, {"size": {"height": 30_000, "width": 30_000}}, "Preparing this image for the model takes more than"),
        ({}, {"size": {"height": 9, "width": 30_000}}, "The model cannot take an input of 30000 x 9 pixels"),
        ({}, {"size": {"shortest_edge": 2048}}, "takes more than"),
        ({"depths": [9000, 1, 1, 1]}, {}, "The model has more than 5000 layers"),
        ({"depths": [1] * 1000, "num_encoder_blocks": 1000}, {}, "cannot be loaded"),
        ({"decoder_hidden_size": 30_000}, {}, "million parameters, too many"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_small_files_that_make_much_work_are_refused_at_once(tmp_path, config, processor, sentence):
    save_hostile(tmp_path, config, processor)
    before = time.process_time()
    with pytest.raises(Refusal, match=sentence):
        load(str(tmp_path), local=True, trusted=False)
    assert time.process_time() - before < 20


def test_the_size_of_the_image_counts(tmp_path):
    save_hostile(tmp_path, {}, {"do_resize": False})
    unbounded = load(str(tmp_path), local=True, trusted=False)
    assert segment(unbounded, photo()).mask.shape == (44, 60)
    for image in (Image.new("RGB", (3000, 3000)), Image.new("RGB", (500, 20_000))):
        with pytest.raises(Refusal, match=f"A pass of the model over {image.width} x {image.height} pixels takes"):
            segment(unbounded, image)
    with pytest.raises(Refusal, match="A pass of the model over 2000 x 2000 pixels takes"):
        draw(
            unbounded,
            Image.new("RGB", (2000, 2000)),
            np.zeros((2000, 2000), np.uint8),
            2,
            8,
            "mean_iou",
            "leave_one_out",
            0,
        )


def test_passes_are_counted_by_windows_and_mirror_image(loaded):
    dry_run = DryRun(loaded.dry_run.model, loaded.processor, 9 * loaded.dry_run.operations(32, 32))
    dry_run.check((32, 32), passes=9)
    with pytest.raises(Refusal, match="18 passes of the model over 32 x 32 pixels take .* Give a larger window"):
        dry_run.check((32, 32), passes=18)


def test_nobody_waits_for_ever():
    turns = Turns(places=1, patience=0.2, seconds=60)
    with turns.place(), turns.compute():
        for wait in (turns.place, turns.compute):
            answer, start = in_thread(wait), time.monotonic()
            assert answer == "The page is busy with the images of others. Try again in a minute."
            assert time.monotonic() - start < 5
    with turns.place(), turns.compute():
        pass


def in_thread(wait) -> str:
    """What a thread is told that asks for its turn."""
    told = []

    def ask():
        try:
            with wait():
                told.append("")
        except Refusal as refusal:
            told.append(str(refusal))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(20)
    return told[0]


def test_nobody_waits_behind_one_that_cannot_be_stopped():
    turns = Turns(patience=1.5, seconds=-10)
    with turns.compute():
        start = time.monotonic()
        assert in_thread(turns.compute).startswith("The page is busy")
        assert time.monotonic() - start < 1.4


def test_a_late_request_ends_and_the_next_one_is_answered(loaded, monkeypatch):
    expected = segment(loaded, photo()).mask
    monkeypatch.setattr(work.turns, "seconds", 0)
    arguments = [np.zeros((44, 60), np.uint8), 2, 8, "mean_iou", "leave_one_out", 0]
    for late in (lambda: segment(loaded, photo(), 32, True), lambda: draw(loaded, photo(), *arguments)):
        with pytest.raises(Refusal, match="This request was stopped after 0 s of computing"):
            late()
    monkeypatch.setattr(work.turns, "seconds", 60)
    assert np.array_equal(segment(loaded, photo()).mask, expected)
