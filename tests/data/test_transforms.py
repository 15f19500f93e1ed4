"""Pixels and labels as the transforms make them."""

import numpy as np
import pytest
import torch
from helpers.rows import picture
from torchvision import tv_tensors
from transformers import MobileViTImageProcessor, SegformerImageProcessor

from rss_hf.data import IGNORE_INDEX, process_image, to_images, train_transform


MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def pair(height, width, seed=0):
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.integers(1, 256, (3, height, width), np.uint8))
    mask = torch.from_numpy(rng.integers(0, 5, (height, width), np.uint8))
    return tv_tensors.Image(image), tv_tensors.Mask(mask)


@pytest.mark.parametrize("size", [(24, 20), (10, 50), (48, 48), (64, 30)])
@pytest.mark.parametrize("scale_range", [(0.5, 2.0), (1, 1)])
def test_training_examples_have_the_size_asked_for(size, scale_range):
    for seed in range(5):
        torch.manual_seed(seed)
        pixel_values, labels = train_transform((32, 40), MEAN, STD, scale_range)(*pair(*size))
        assert (pixel_values.shape, pixel_values.dtype) == ((3, 32, 40), torch.float32)
        assert (labels.shape, labels.dtype) == ((32, 40), torch.int64)
        assert type(pixel_values) is type(labels) is torch.Tensor
        assert set(labels.unique().tolist()) <= {0, 1, 2, 3, 4, IGNORE_INDEX}


def test_at_its_own_scale_an_image_is_only_flipped_and_normalised():
    image, mask = pair(16, 24)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    expected = (image.as_subclass(torch.Tensor) / 255 - mean) / std
    transform = train_transform((16, 24), MEAN, STD, scale_range=(1, 1), photometric_distortion=False)
    seen = set()
    for seed in range(8):
        torch.manual_seed(seed)
        pixel_values, labels = transform(image, mask)
        flipped = not torch.equal(labels, mask.long())
        torch.testing.assert_close(pixel_values, expected.flip(-1) if flipped else expected)
        assert torch.equal(labels, mask.long().flip(-1) if flipped else mask.long())
        seen.add(flipped)
    assert seen == {False, True}
    assert not any("ScaleJitter" in str(step) for step in transform.transforms)


@pytest.mark.parametrize("ignore_index", [IGNORE_INDEX, -100, 1000])
def test_padding_is_zero_in_the_image_and_ignored_in_the_labels(ignore_index):
    for seed in range(5):
        torch.manual_seed(seed)
        transform = train_transform((30, 40), MEAN, STD, scale_range=(1, 1), ignore_index=ignore_index)
        pixel_values, labels = transform(*pair(20, 10))
        assert (labels != ignore_index).sum() == 20 * 10
        assert set(labels.unique().tolist()) == {0, 1, 2, 3, 4, ignore_index}
        assert torch.all(pixel_values[:, labels == ignore_index] == 0)


def test_scale_is_relative_to_the_largest_size_that_fits():
    transform = train_transform((40, 80), MEAN, STD, scale_range=(0.5, 0.5), photometric_distortion=False)
    assert (transform(*pair(40, 80))[1] != IGNORE_INDEX).sum() == 20 * 40
    assert (transform(*pair(80, 80))[1] != IGNORE_INDEX).sum() == 20 * 20


def test_image_and_mask_move_together():
    mask = pair(24, 24)[1]
    image = tv_tensors.Image(mask[None].expand(3, -1, -1).contiguous())
    transform = train_transform((16, 16), [0, 0, 0], [1 / 255] * 3, scale_range=(1, 1), photometric_distortion=False)
    for _ in range(5):
        pixel_values, labels = transform(image, mask)
        torch.testing.assert_close(pixel_values[0].round().long(), labels)


@pytest.mark.parametrize("scale_range", [(2, 1), (0, 1)])
def test_bad_scale_range(scale_range):
    with pytest.raises(ValueError, match="two positive numbers"):
        train_transform((8, 8), MEAN, STD, scale_range)


@pytest.mark.parametrize(
    "scale_range", [(1,), (1, 2, 3), (0, 1), (-1, 1), (2, 1), (1000, 1000), (1, 17), (float("nan"), 1)]
)
def test_scales_that_make_no_sense_are_refused(scale_range):
    with pytest.raises(ValueError, match="scale_range must be two positive numbers up to 16"):
        train_transform((8, 8), [0] * 3, [1] * 3, scale_range)


@pytest.mark.parametrize("image_size", [(8,), (8, 8, 8), (0, 8), (8, -32), (8.5, 8)])
def test_sizes_that_make_no_sense_are_refused(image_size):
    with pytest.raises(ValueError, match="image_size must be a height and a width"):
        train_transform(image_size, [0] * 3, [1] * 3)


@pytest.mark.parametrize(
    "settings", [{}, {"do_flip_channel_order": True}, {"do_normalize": False}, {"do_rescale": False}]
)
def test_images_come_back_from_pixel_values(settings):
    processor_class = MobileViTImageProcessor if "do_flip_channel_order" in settings else SegformerImageProcessor
    processor = processor_class(size={"height": 6, "width": 8}, do_resize=False, do_center_crop=False, **settings)
    image = picture(3)
    (again,) = to_images(processor, process_image(processor, image)[None])
    assert np.array_equal(np.asarray(again), np.asarray(image))
