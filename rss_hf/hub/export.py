"""Trained models for where rss_hf is not: plain SegFormer checkpoints and ONNX."""

import os
from importlib.util import find_spec

import torch
from torch import nn
from transformers import (
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    SegformerConfig,
    SegformerForSemanticSegmentation,
)

from ..configuration_rss_segformer import RSSSegformerConfig


def export_segformer(model: str | os.PathLike, folder: str | os.PathLike, revision: str | None = None) -> None:
    """
    Writes a checkpoint that transformers alone loads, with no code of ours: the same weights and logits as
    [`~transformers.SegformerForSemanticSegmentation`], and the image processor.

    Args:
        model (`str` or `PathLike`): Hub id or folder of an [`RSSSegformerForSemanticSegmentation`].
        folder (`str` or `PathLike`): where to.
        revision (`str`, *optional*, defaults to the main branch): branch, tag or commit of a Hub id.

    Raises:
        ValueError: if the model is not of the type `rss_segformer`.
    """
    policy = AutoModelForSemanticSegmentation.from_pretrained(model, revision=revision)
    if policy.config.model_type != RSSSegformerConfig.model_type:
        raise ValueError(
            f"{model} has the model type {policy.config.model_type!r}, not {RSSSegformerConfig.model_type!r}: "
            "transformers loads it as it is, there is nothing to export."
        )
    fields = policy.config.to_dict()
    for name in ("model_type", "auto_map", "architectures"):
        fields.pop(name, None)
    plain = SegformerForSemanticSegmentation(SegformerConfig(**fields)).to(policy.dtype)
    plain.load_state_dict(policy.state_dict())
    plain.save_pretrained(folder)
    AutoImageProcessor.from_pretrained(model, revision=revision).save_pretrained(folder)


class Logits(nn.Module):
    """A segmentation model as a function from `pixel_values` (B, 3, H, W) to logits (B, C, h, w)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=pixel_values).logits


def export_onnx(model: str | os.PathLike, path: str | os.PathLike, revision: str | None = None) -> None:
    """
    Writes an ONNX model from `pixel_values` (B, 3, H, W) float32 to `logits` (B, C, h, w) float32, all of B, H and W
    free. It needs the extra `onnx`: `pip install "rss-hf[onnx]"`.

    Args:
        model (`str` or `PathLike`): Hub id or folder of a segmentation model.
        path (`str` or `PathLike`): the file to write.
        revision (`str`, *optional*, defaults to the main branch): branch, tag or commit of a Hub id.

    Raises:
        ImportError: if `onnx` or `onnxscript` is not installed.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ImportError(f"ONNX export needs {' and '.join(missing)}, not installed: pip install 'rss-hf[onnx]'.")
    network = AutoModelForSemanticSegmentation.from_pretrained(model, revision=revision, dtype=torch.float32)
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    program = torch.onnx.export(
        Logits(network).eval(),
        (torch.zeros(2, 3, 64, 96),),  # sides that differ, so that none is taken for another
        dynamo=True,
        input_names=["pixel_values"],
        output_names=["logits"],
        dynamic_shapes={"pixel_values": free},
        verbose=False,
    )
    program.save(path)
