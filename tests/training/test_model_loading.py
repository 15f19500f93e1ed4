"""Models that cannot be loaded, and models that the Hub need not be asked for."""

import socket

import pytest
import torch
from helpers.models import TINY
from transformers import (
    SegformerConfig,
    SegformerForImageClassification,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
)

from rss_hf.training import load_image_processor, load_model, load_trained_model
from rss_hf.training.model_loading import find_model


@pytest.fixture
def asked(monkeypatch):
    """The hosts that were asked for, of which none is found."""
    hosts = []

    def refuse(host, *arguments, **options):
        hosts.append(host)
        raise socket.gaierror("no network")

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return hosts


@pytest.fixture
def folder(tmp_path):
    """An encoder, a model of 3 classes called a, b and c, and a file."""
    SegformerForImageClassification(SegformerConfig(**TINY)).save_pretrained(tmp_path / "encoder")
    config = SegformerConfig(id2label=dict(enumerate("abc")), **TINY)
    SegformerForSemanticSegmentation(config).save_pretrained(tmp_path / "model")
    for name in ("encoder", "model"):
        SegformerImageProcessor().save_pretrained(tmp_path / name)
    (tmp_path / "file").touch()
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["./outputs", "outputs/shapes/checkpoint-100", "checkpoint-100", "here/nothing", "/no/where", "~/nothing/no"],
)
@pytest.mark.parametrize("load", [load_model, load_image_processor, load_trained_model])
def test_the_hub_is_not_asked_for_a_folder_that_is_missing(asked, tmp_path, monkeypatch, load, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(ValueError, match=f"{name}: there is no such folder"):
        load(name)
    assert asked == []


@pytest.mark.parametrize("name", ["organisation/name", "name", "nvidia/mit-b0", "a.b/c_d-1.0"])
def test_what_may_be_an_id_of_the_hub_is_left_to_it(name):
    assert find_model(name) == name


def test_folders_without_a_model_are_named(asked, folder):
    with pytest.raises(ValueError, match="holds no model.*it has the folders encoder, model, which do"):
        load_model(str(folder))
    with pytest.raises(ValueError, match="file is a file"):
        load_model(str(folder / "file"))
    assert asked == []


def test_a_home_folder_is_found(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert load_model("~/model").config.num_labels == 3


def test_a_head_for_other_classes_is_refused_or_begun_anew(folder):
    names = dict(enumerate("wxyz"))
    with pytest.raises(
        ValueError, match=r"model has a head for 3 classes \(a, b, c\).*the 4 given.*ignore_mismatched"
    ):
        load_model(str(folder / "model"), names)
    model = load_model(str(folder / "model"), names, ignore_mismatched_sizes=True)
    assert model.decode_head.classifier.weight.shape[0] == 4
    assert load_model(str(folder / "encoder"), names).config.num_labels == 4  # an encoder has no head to fit


def test_damaged_weights_are_named(folder):
    weights = folder / "model" / "model.safetensors"
    for content in (weights.read_bytes()[:1000], b"", b"\0" * 100):
        weights.write_bytes(content)
        with pytest.raises(ValueError, match="The weights of .*model are damaged"):
            load_model(str(folder / "model"))
        with pytest.raises(ValueError, match="The weights of .*model cannot be loaded"):
            load_trained_model(str(folder / "model"))


def test_a_model_without_a_head_predicts_nothing(folder):
    with pytest.raises(
        ValueError, match="encoder lacks .* weights of a SegformerForSemanticSegmentation, decode_head"
    ):
        load_trained_model(str(folder / "encoder"))
    model, processor = load_trained_model(str(folder / "model"))
    assert not model.training and model.dtype == torch.float32 and processor.image_mean
