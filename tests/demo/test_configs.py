"""What a visitor's model may say: its files name no other files, and nothing else is asked for whatever they name."""

import json
import socket
import threading
import urllib.request

import httpx
import pytest
from huggingface_hub import HfApi

from rss_hf.demo.configs import MAX_LENGTH, MAX_NUMBER, check_config, offline
from rss_hf.demo.images import Refusal


OTHER = "asks by '{}' for another model or its code"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"backbone": "org/other"}, OTHER.format("backbone")),
        ({"backbone_config": {"model_type": "timm_backbone", "backbone": "resnet18"}}, OTHER.format("backbone")),
        ({"backbone": "local-dir:/srv/private"}, OTHER.format("backbone")),
        ({"backbone_config": {"use_pretrained_backbone": True}}, OTHER.format("use_pretrained_backbone")),
        ({"a": [{"b": {"use_timm_backbone": True}}]}, OTHER.format("use_timm_backbone")),
        ({"quantization_config": {"quant_method": "other"}}, OTHER.format("quantization_config")),
        ({"attn_implementation": "org/kernel"}, OTHER.format("attn_implementation")),
        ({"_attn_implementation": {"": "org/kernel@main:f"}}, OTHER.format("_attn_implementation")),
        ({"backbone_config": {"experts_implementation": "org/kernel"}}, OTHER.format("experts_implementation")),
        ({"num_labels": 10**9}, "has 'num_labels' above"),
        ({"depths": [1, -(10**30)]}, "has 'depths' above"),
        ({"backbone_config": {"window_size": MAX_NUMBER + 1}}, "has 'window_size' above"),
        ({"depths": [MAX_NUMBER // 2, MAX_NUMBER // 2 + 2]}, "has 'depths' above"),
        ({"depths": [1] * (MAX_LENGTH + 1)}, "has 1025 values of 'depths'"),
        ({"x" * 2**20: 1}, "has more than 1 MiB"),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, dict) else "",
)
def test_settings_that_are_none_of_a_models_own(tmp_path, settings, sentence):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(settings))
    with pytest.raises(Refusal, match=sentence):
        check_config(path)


@pytest.mark.parametrize(
    "settings",
    [
        {"backbone": None, "use_pretrained_backbone": False, "use_timm_backbone": False, "backbone_config": {}},
        {"attn_implementation": "sdpa", "depths": [3, 6, 40, 3], "hidden_sizes": [64, 128, 320, 512]},
        {"id2label": {str(i): "name" for i in range(2000)}, "label2id": {"name": 1999}},
        {"_name_or_path": "org/other", "auto_map": {"AutoConfig": "org/other--code.Config"}, "image_mean": [0.5] * 3},
        {"initializer_range": 1e30, "size": {"height": 2048, "width": 2048}},
    ],
    ids=lambda value: str(value)[:50],
)
def test_usual_settings_are_taken(tmp_path, settings):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(settings))
    check_config(path)


@pytest.mark.parametrize(
    "ask",
    [
        lambda url: urllib.request.urlopen(url, timeout=5),
        lambda url: httpx.get(url),
        lambda url: socket.create_connection(("127.0.0.1", httpx.URL(url).port)),
        lambda url: HfApi(endpoint=url).repo_exists("org/other"),
        lambda url: HfApi(endpoint=url).hf_hub_download("org/other", "config.json"),
    ],
    ids=["urllib", "httpx", "socket", "exists", "download"],
)
def test_no_library_gets_a_connection(ask, tmp_path):
    came = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Refusal, match="ask for another model or its code"), offline():
            ask(url)
        with pytest.raises(Refusal, match="ask for another model"), offline():
            try:
                ask(url)
            except Exception as error:  # what a library might do: go on without
                came.append(type(error))
        assert came == [Refusal]
        with pytest.raises(TimeoutError):
            server.accept()


def test_other_threads_keep_their_connections():
    with socket.create_server(("127.0.0.1", 0)) as server:
        connected = []

        def connect():
            with socket.create_connection(server.getsockname()):
                connected.append(True)

        with offline():
            thread = threading.Thread(target=connect)
            thread.start()
            thread.join(10)
        connect()
    assert connected == [True, True]
