"""A classifier as a judge: one whose answer can be computed by hand."""

import numpy as np
import PIL.Image
import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

from rss_hf.judges import ModelReward


NAMES = ["other", "red", "blue"]


class Colours(ResNetForImageClassification):
    """Logits are 4 times the mean red and blue of an image in [0, 1]."""

    def forward(self, pixel_values, **kwargs):
        outputs = super().forward(pixel_values, **kwargs)
        outputs.logits = 4 * pixel_values.mean((2, 3))[:, [0, 2]]
        return outputs


@pytest.fixture
def classifier(tmp_path, monkeypatch):
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], num_labels=2)
    config.id2label, config.label2id = {0: "red", 1: "blue"}, {"red": 0, "blue": 1}
    ResNetForImageClassification(config).save_pretrained(tmp_path)
    ViTImageProcessor(do_resize=False, do_normalize=False).save_pretrained(tmp_path)
    monkeypatch.setattr("rss_hf.judges.model.AutoModelForImageClassification.from_pretrained", Colours.from_pretrained)
    return str(tmp_path)


@pytest.fixture
def image():
    """Left half red, right half blue."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4, 0], pixels[:, 4:, 2] = 255, 255
    return PIL.Image.fromarray(pixels)


def by_hand(image, inside, label):
    """p(label | inside) - p(label | outside)."""
    pixels = np.asarray(image) / 255
    mean = (np.asarray(image).mean((0, 1)).astype(np.uint8) / 255)[None, None]
    probs = []
    for shown in (np.where(inside[..., None], pixels, mean), np.where(inside[..., None], mean, pixels)):
        logits = torch.tensor(4 * shown.mean((0, 1))[[0, 2]])
        probs.append(logits.softmax(0)[label].item())
    return probs[0] - probs[1]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_it_is_inside_less_outside(classifier, image, batch_size):
    maps = torch.zeros(3, 8, 8, dtype=torch.int64)
    maps[0, :, :4], maps[0, :, 4:] = 1, 2  # right
    maps[1, :, :4], maps[1, :, 4:] = 2, 1  # the wrong way round
    maps[2, :2, :2] = 1
    got = ModelReward(classifier, batch_size=batch_size)(maps, [image] * 3, NAMES)
    left = np.arange(8)[None].repeat(8, 0) < 4
    expected = [
        (by_hand(image, left, 0) + by_hand(image, ~left, 1)) / 2,
        (by_hand(image, left, 1) + by_hand(image, ~left, 0)) / 2,
        by_hand(image, (maps[2] == 1).numpy(), 0),
    ]
    torch.testing.assert_close(got, torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert got[0] > 0.3 > 0 > got[1]


def test_tags_say_which_classes_are_judged(classifier, image):
    maps = torch.zeros(2, 8, 8, dtype=torch.int64)
    maps[:, :, :4] = 1
    got = ModelReward(classifier)(maps, [image] * 2, NAMES, class_tags=[["red", "blue"], ["other"]])
    left = np.arange(8)[None].repeat(8, 0) < 4
    expected = (by_hand(image, left, 0) + by_hand(image, left & False, 1)) / 2
    assert got[0].item() == pytest.approx(expected, abs=1e-4) and got[1].isnan()
    none_of_it = ModelReward(classifier)(torch.zeros(1, 8, 8, dtype=torch.int64), [image], NAMES)
    assert none_of_it.isnan().all()


def test_labels_of_other_names(classifier, image):
    maps = torch.ones(1, 8, 8, dtype=torch.int64)
    mapped = ModelReward(classifier, labels={"rose": "red"})
    expected = ModelReward(classifier)(maps, [image], NAMES)
    torch.testing.assert_close(mapped(maps, [image], ["other", "rose"]), expected)
    with pytest.raises(ValueError, match="No class of"):
        mapped(maps, [image], ["a", "b"])
    with pytest.raises(ValueError, match="has no label 'green'"):
        ModelReward(classifier, labels={"rose": "green"})
