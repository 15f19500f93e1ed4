"""Training, evaluation and prediction see one image, whole, with every image processor that transformers has."""

import numpy as np
import PIL.Image
import pytest
import torch
import transformers
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from helpers.rows import rows
from torch import nn
from torch.utils.data import DataLoader
from transformers.modeling_outputs import SemanticSegmenterOutput
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES

from rss_hf.data import collate, evaluation_examples, process_image, training_examples
from rss_hf.evaluation import evaluate_model, predict_maps, segmentation_scores


NAMES = sorted(
    {
        name
        for model_type in MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES
        for name in IMAGE_PROCESSOR_MAPPING_NAMES[model_type].values()
    }
)
SIZE = {"height": 64, "width": 96}
SETTINGS = {
    "as made": {},
    "small": {"size": SIZE},
    "by the edge": {"size": {"shortest_edge": 64}, "default_to_square": False},
    "crop": {"do_center_crop": True, "crop_size": SIZE, "size": {"height": 80, "width": 100}},
    "crop by the edge": {"do_center_crop": True, "crop_size": SIZE, "size": {"shortest_edge": 90}},
    "crop alone": {"do_center_crop": True, "crop_size": SIZE, "do_resize": False},
    "pad": {"size": {"height": 60, "width": 90}, "do_pad": True, "size_divisor": 32},
    "keep ratio": {"size": SIZE, "keep_aspect_ratio": True, "ensure_multiple_of": 4},
    "raw": {"size": SIZE, "do_normalize": False, "do_rescale": False},
    "0 to 2": {"size": SIZE, "do_rescale": True, "rescale_factor": 1 / 127.5, "do_normalize": False},
    "own colours": {"size": SIZE, "do_normalize": True, "image_mean": [0.1, 0.5, 0.9], "image_std": [0.9, 0.5, 0.2]},
    "flipped": {"size": SIZE, "do_flip_channel_order": True},
    "ids from 1": {"size": SIZE, "do_reduce_labels": True},
}
# What a class does not know: DPT's takes a height and a width alone, and MobileViT's never normalises.
UNKNOWN = {"DPT": ("by the edge", "crop by the edge"), "MobileViT": ("own colours",)}
CASES = [
    (name, settings)
    for name in NAMES
    for settings in SETTINGS
    if settings not in UNKNOWN.get(name.split("Image")[0], ())
]
COLOURS = np.array([(200, 30, 30), (30, 200, 30), (30, 30, 200), (230, 220, 90)], np.uint8)


class Oracle(nn.Module):
    """Knows each class by the colour it has after processing."""

    def __init__(self, processor):
        super().__init__()
        patches = [PIL.Image.new("RGB", (96, 64), tuple(colour.tolist())) for colour in COLOURS]
        centre = [process_image(processor, patch)[:, 30, 40] for patch in patches]
        self.colours = nn.Parameter(torch.stack(centre))

    def forward(self, pixel_values):
        distances = (pixel_values[:, None] - self.colours[None, :, :, None, None]).square().sum(dim=2)
        return SemanticSegmenterOutput(logits=-distances)


def scene(height, width):
    """Stripes to the edges, another pattern in each corner: what is cut off, moved or mirrored is missed."""
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 5] = 1
    mask[:, : width // 6] = 2
    mask[-height // 7 :, -width // 3 :] = 3
    return mask


@pytest.fixture
def accelerator():
    AcceleratorState._reset_state(reset_partial_state=True)
    yield Accelerator(cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_an_oracle_is_always_right(name, settings, accelerator):
    processor = getattr(transformers, name)(**SETTINGS[settings])
    height, width = process_image(processor, PIL.Image.new("RGB", (96, 64))).shape[-2:]
    masks = [scene(height, width), scene(height, width)[::-1].copy()]
    images = [PIL.Image.fromarray(COLOURS[mask]) for mask in masks]
    stored = [mask + 1 for mask in masks] if processor.to_dict().get("do_reduce_labels") else masks
    oracle = Oracle(processor).eval()
    examples = evaluation_examples(rows(stored, images), processor, num_classes=4)
    loader = accelerator.prepare(DataLoader(examples, batch_size=2, collate_fn=collate))
    scores = segmentation_scores(evaluate_model(oracle, loader, 4, accelerator))
    assert scores["mean_iou"] == 1.0
    for image, mask in zip(images, masks, strict=True):
        (predicted,) = predict_maps(oracle, process_image(processor, image)[None], [mask.shape])
        np.testing.assert_array_equal(predicted.numpy(), mask)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_training_sees_what_evaluation_sees(name, settings):
    processor = getattr(transformers, name)(**SETTINGS[settings])
    height, width = process_image(processor, PIL.Image.new("RGB", (96, 64))).shape[-2:]
    mask = scene(height, width)
    stored = rows([mask + 1], [PIL.Image.fromarray(COLOURS[mask])])
    size = {"image_size": (height, width), "scale_range": (1, 1), "photometric_distortion": False}
    (trained_on,) = training_examples(stored, processor, **size)
    (scored,) = evaluation_examples(stored, processor)
    turns = [lambda pixels: pixels, lambda pixels: pixels.flip(-1)]
    for name in ("pixel_values", "labels"):
        assert any(torch.allclose(trained_on[name], turn(scored[name]), atol=1e-4) for turn in turns)


@pytest.mark.parametrize("name", NAMES)
def test_images_of_several_sizes_are_scored_in_one_batch(name, accelerator):
    processor = getattr(transformers, name)(size={"height": 64, "width": 64}, do_center_crop=False, do_resize=False)
    masks = [scene(64, 96), scene(70, 64), scene(64, 96)]
    examples = evaluation_examples(rows(masks, [PIL.Image.fromarray(COLOURS[mask]) for mask in masks]), processor)
    loader = accelerator.prepare(DataLoader(examples, batch_size=3, collate_fn=collate))
    confusion = evaluate_model(Oracle(processor), loader, 4, accelerator)
    assert confusion.sum() == sum(mask.size for mask in masks) and segmentation_scores(confusion)["mean_iou"] == 1


@pytest.mark.parametrize("key", ["do_reduce_labels", "reduce_labels"])
def test_ids_from_1_are_obeyed_under_the_old_name_too(key):
    processor = transformers.BeitImageProcessor.from_dict({key: True, "size": SIZE})
    stored = rows([np.array([[0, 1, 2, 150, 255]] * 5, np.uint8)], [PIL.Image.new("RGB", (5, 5))])
    (example,) = evaluation_examples(stored, processor, ignore_index=-100, num_classes=150)
    assert example["labels"][0].tolist() == [-100, 0, 1, 149, -100]
    with pytest.raises(ValueError, match=r"\[150\]: with 149 classes and do_reduce_labels .* the ids are 1 to 149"):
        next(iter(evaluation_examples(stored, processor, num_classes=149)))
