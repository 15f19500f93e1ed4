"""Exports give the logits of the model they come from."""

import json

import pytest
import torch
from transformers import AutoModelForSemanticSegmentation, SegformerForSemanticSegmentation, SegformerImageProcessor

from rss_hf import RSSSegformerConfig, RSSSegformerForSemanticSegmentation
from rss_hf.hub import export
from rss_hf.hub.export import export_onnx, export_segformer


def image(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def save_policy(folder, **config):
    """A policy of three classes, and its folder with an image processor."""
    torch.manual_seed(0)
    config = RSSSegformerConfig(id2label={0: "background", 1: "cat", 2: "dog"}, initializer_range=0.5, **config)
    policy = RSSSegformerForSemanticSegmentation(config).eval()
    policy.save_pretrained(folder)
    SegformerImageProcessor(size={"height": 64, "width": 96}).save_pretrained(folder)
    return policy


def test_plain_segformer_has_the_same_logits_and_nothing_of_ours(tiny_config, tmp_path):
    policy = save_policy(tmp_path / "policy", **tiny_config)
    export_segformer(tmp_path / "policy", tmp_path / "plain")
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    assert config["model_type"] == "segformer" and config["architectures"] == ["SegformerForSemanticSegmentation"]
    assert "auto_map" not in config and config["id2label"] == {"0": "background", "1": "cat", "2": "dog"}
    assert sorted(p.name for p in (tmp_path / "plain").iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    plain = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "plain").eval()
    assert type(plain) is SegformerForSemanticSegmentation
    pixel_values = image(2, 3, 64, 96)
    assert torch.equal(plain(pixel_values).logits, policy(pixel_values).logits)


def test_other_models_are_not_exported(plain_config, tmp_path):
    SegformerForSemanticSegmentation(plain_config).save_pretrained(tmp_path / "plain")
    with pytest.raises(ValueError, match="'segformer', not 'rss_segformer'.*nothing to export"):
        export_segformer(tmp_path / "plain", tmp_path / "out")


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_what_onnx_needs_is_said_before_a_model_is_read(monkeypatch, missing, tmp_path):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(ImportError, match=rf"^ONNX export needs {missing}, .*: pip install 'rss-hf\[onnx\]'.$"):
        export_onnx(tmp_path / "no model", tmp_path / "policy.onnx")


def test_onnx_agrees_with_torch_at_any_size(tiny_config, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    # The first and the last of four stages, which have every kind of layer: an export takes seconds a layer.
    stages = {"num_encoder_blocks": 2, "strides": (4, 2), "patch_sizes": (7, 3), "sr_ratios": (8, 1)}
    stages |= {"mlp_ratios": (4, 4)}
    stages |= {name: tiny_config[name][::3] for name in ("hidden_sizes", "depths", "num_attention_heads")}
    policy = save_policy(tmp_path / "policy", **(tiny_config | stages))
    export_onnx(tmp_path / "policy", tmp_path / "policy.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx")
    for shape in ((1, 3, 64, 64), (3, 3, 100, 70)):
        (logits,) = session.run(["logits"], {"pixel_values": image(*shape).numpy()})
        expected = policy(image(*shape)).logits
        assert expected.std() > 5  # against which 1e-3 is float32 rounding through the network
        torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=0.0, atol=1e-3)
