"""Requests and models that mean no good, sent to the demo as it is served."""

import json
import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from helpers.demo_server import ROOT, model_folder, photo, post, refusal, save_hostile, server
from PIL import Image


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    return Client(server().url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


@pytest.fixture
def image(tmp_path):
    photo().save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def deep(levels: int) -> list:
    nested = []
    for _ in range(levels):
        nested = [nested]
    return nested


ODD = (
    None,
    True,
    -1,
    2.5,
    1e308,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\0",
    "\ud800",
    "a" * 5000,
    "/",
    "../..",
)
ODD += ([], [[1]], {}, {"path": 5}, {"path": []}, {"path": "\0"}, {"path": "a" * 5000}, {"meta": 1}, deep(300))
ODD += ({"__type__": "update"}, {"path": "x", "url": ["data:"], "meta": {"_type": "gradio.FileData"}})
ARGUMENTS = {"segment": 4, "sample": 8}


@pytest.mark.parametrize(("name", "position"), [(name, i) for name, count in ARGUMENTS.items() for i in range(count)])
def test_odd_values_get_a_sentence(image, tmp_path, name, position):
    Image.new("L", (60, 44), 1).save(tmp_path / "mask.png")
    files = {"files": ("image.png", image.read_bytes())}, {"files": ("mask.png", (tmp_path / "mask.png").read_bytes())}
    first, second = (httpx.post(f"{server().url}/gradio_api/upload", files=file).json()[0] for file in files)
    usual = {
        "segment": [{"path": first}, "", 0, False],
        "sample": [{"path": first}, {"path": second}, "", 2, 8, "mean_iou", "leave_one_out", 0],
    }[name]
    assert "event: complete" in post(usual, name)
    for value in ODD:
        data = [*usual[:position], value, *usual[position + 1 :]]
        answer = post(data, name)
        if "event: complete" in answer:
            assert value in (True, "")  # a mirror image, and the page's own model
            continue
        message = json.loads(answer.split("data: ", 1)[1])["error"]
        assert message and "went wrong" not in message, f"{str(value)[:60]}: {message}"
        assert all(secret not in answer for secret in ("Traceback", str(ROOT), tempfile.gettempdir() + "/"))


@pytest.mark.parametrize("data", [[], [1], [[[]]], [None] * 3, [None] * 9, [{}] * 40], ids=str)
def test_too_few_and_too_many_values_get_a_sentence(data):
    for name in ARGUMENTS:
        answer = post(data, name)
        assert "went wrong" not in answer and "Traceback" not in answer
        assert json.loads(answer.split("data: ", 1)[1])["error"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b'{"data": 5}', b'{"data":' + b"[" * 10**5, b'{"data":[1' + b"0" * 5000 + b"]}"],
    ids=len,
)
def test_requests_that_are_none_are_refused(body):
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{server().url}/gradio_api/call/segment", content=body, headers=headers, timeout=60)
    assert 400 <= answer.status_code < 500


HOSTILE = {
    "backbone": ({"backbone": "victim/model", "model_type": "upernet"}, {}),
    "pretrained": ({"backbone_config": {"use_pretrained_backbone": True}, "model_type": "upernet"}, {}),
    "timm": ({"backbone_config": {"model_type": "timm_backbone", "backbone": "hf-hub:victim/model"}}, {}),
    "code": ({"auto_map": {"AutoConfig": "victim/model--code.C"}, "model_type": "unheard-of"}, {}),
    "more-code": ({"auto_map": {"AutoModelForSemanticSegmentation": "victim/model--code.M"}}, {}),
    "processor": ({}, {"auto_map": {"AutoImageProcessor": "victim/model--code.P"}, "image_processor_type": "Other"}),
    "feature": ({}, {"image_processor_type": None, "feature_extractor_type": "victim/model"}),
    "path": ({"_name_or_path": "victim/model", "name_or_path": "victim/model"}, {"_name_or_path": "victim/model"}),
    "tokenizer": (
        {"tokenizer_class": "victim/model"},
        {"processor_class": "victim/model", "tokenizer": "victim/model"},
    ),
    "kernel": ({"attn_implementation": "victim/model"}, {}),
    "adapter": ({"base_model_name_or_path": "victim/model", "peft_type": "LORA"}, {}),
    "quantized": ({"quantization_config": {"quant_method": "victim/model"}}, {}),
    "weights": ({"transformers_weights": "victim/model"}, {}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_but_the_files_of_the_named_model_is_asked_for(client, image, tmp_path, name):
    if "models/victim/model" not in server().hub.repos:
        server().publish("victim/model", model_folder())
    save_hostile(tmp_path / "model", *HOSTILE[name])
    (tmp_path / "model" / "adapter_config.json").write_text('{"base_model_name_or_path": "victim/model"}')
    (tmp_path / "model" / "code.py").write_text("raise SystemExit")
    server().publish(f"org/{name}", tmp_path / "model")
    before = len(server().hub.requests)
    try:
        client.predict(handle_file(image), f"org/{name}", api_name="/segment")
    except AppError as error:
        assert str(error).startswith("The model") and "went wrong" not in str(error)
    asked = server().hub.requests[before:]
    assert asked and all(f"org/{name}" in request for request in asked), asked
    fetched = {request.split("?")[0].rsplit("/", 1)[1] for request in asked if "/resolve/" in request}
    assert fetched <= {"config.json", "preprocessor_config.json", "model.safetensors"}


def test_a_model_that_makes_much_work_holds_nobody_up(client, image, tmp_path):
    save_hostile(tmp_path / "model", {"strides": [1, 1, 1, 1]}, {"size": {"height": 512, "width": 512}})
    server().publish("org/strides", tmp_path / "model")
    with ThreadPoolExecutor(4) as pool:
        hostile = [pool.submit(refusal, client, handle_file(image), "org/strides") for _ in range(3)]
        start = time.monotonic()
        assert client.predict(handle_file(image), api_name="/segment")
        assert time.monotonic() - start < 30
    for answer in hostile:
        assert re.match("A pass of the model over 512 x 512 pixels takes|.* model is being loaded", answer.result())
