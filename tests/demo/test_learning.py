"""How the demo shows learning: the maps, rewards and advantages are training's own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.demo_server import NAMES, model_folder, photo
from PIL import Image
from transformers import SegformerImageProcessor

from rss_hf import mean_iou
from rss_hf.advantages import leave_one_out, pairwise_spatial_difference
from rss_hf.constants import IGNORE_INDEX
from rss_hf.demo.images import Refusal, open_picture, upright
from rss_hf.demo.learning import ESTIMATOR_NAMES, draw, open_reference, pair_pictures, pair_text
from rss_hf.demo.models import load
from rss_hf.demo.segment import segment


REFERENCE = np.random.default_rng(1).integers(0, 4, (44, 60), dtype=np.uint8)
REFERENCE[:5] = IGNORE_INDEX


@pytest.fixture(scope="module")
def loaded():
    return load(str(model_folder()), local=True, trusted=True)


def test_rewards_and_advantages_are_those_of_training(loaded):
    drawn = draw(loaded, photo(), REFERENCE, 6, 4, "mean_iou", "leave_one_out", 3)
    assert drawn.grid == (16, 16) and drawn.actions.shape == (6, 16, 16)
    maps = torch.from_numpy(np.stack(drawn.maps((44, 60)))).long()
    rewards = mean_iou(maps, torch.from_numpy(REFERENCE).long().expand(6, -1, -1))
    assert drawn.rewards == pytest.approx(rewards.tolist(), abs=1e-6)
    advantages = leave_one_out(rewards.view(6, 1, 1, 1)).flatten()
    assert drawn.advantages == pytest.approx(advantages.tolist(), abs=1e-6)
    pairs = draw(loaded, photo(), REFERENCE, 6, 4, "mean_iou", "pairwise_spatial_difference", 3)
    assert torch.equal(pairs.actions, drawn.actions)
    advantages = pairwise_spatial_difference(rewards.view(6, 1, 1, 1), drawn.actions[:, None]).flatten()
    assert pairs.advantages == pytest.approx(advantages.tolist(), abs=1e-6)


def test_a_pixel_level_reward_is_given_by_its_mean(loaded):
    drawn = draw(loaded, photo(), REFERENCE, 4, 2, "pixel_match", "leave_one_out", 0)
    assert drawn.grid == (32, 32)
    assert all(0 < reward < 1 for reward in drawn.rewards)
    assert sum(drawn.advantages) == pytest.approx(0, abs=1e-6)


def test_a_pair_is_shown_where_it_differs(loaded):
    drawn = draw(loaded, photo(), REFERENCE, 2, 8, "mean_iou", "leave_one_out", 0)
    grey = np.asarray(photo().convert("L").convert("RGB"))
    first, second = (np.asarray(picture) for picture in pair_pictures(drawn, photo(), 0, 1))
    one, other = drawn.maps((44, 60))
    assert np.array_equal((first == second).all(axis=-1), one == other)
    assert np.array_equal(first[one == other], grey[one == other])
    text = pair_text(drawn, 0, 1, "mean_iou")
    assert f"differ at {(drawn.actions[0] != drawn.actions[1]).sum()} of 64 sites" in text
    better = 1 + int(drawn.rewards[1] > drawn.rewards[0])
    assert f"the classes of map {better} become more likely" in text
    assert pair_text(drawn, 1, 1, "mean_iou").endswith("This pair changes nothing.")


def test_references_fit_the_image_and_the_classes(loaded, tmp_path):
    def reference(pixels, model=loaded):
        Image.fromarray(pixels).save(tmp_path / "mask.png")
        return open_reference(str(tmp_path / "mask.png"), photo(), (60, 44), model)

    assert np.array_equal(reference(REFERENCE), REFERENCE)
    three_classes = replace(loaded, class_names=NAMES[:3])
    with pytest.raises(Refusal, match=r"The mask has ids of no class of this model, \[3\]: its classes are 0 to 2"):
        reference(REFERENCE, three_classes)
    ignored = np.where(REFERENCE == 3, IGNORE_INDEX, REFERENCE)
    assert np.array_equal(reference(REFERENCE, replace(three_classes, ignore_index=3)), ignored)
    with pytest.raises(Refusal, match="Reference: the image is 60x44 pixels and its mask 60x43. They must be"):
        reference(REFERENCE[1:])
    with pytest.raises(Refusal, match="no pixel of a class"):
        reference(np.full_like(REFERENCE, IGNORE_INDEX))


def test_ids_that_count_from_1_are_those_of_the_processor(loaded, tmp_path):
    counted = replace(loaded, processor=SegformerImageProcessor(do_reduce_labels=True))
    Image.fromarray(np.where(REFERENCE == IGNORE_INDEX, 0, REFERENCE + 1)).save(tmp_path / "mask.png")
    assert np.array_equal(open_reference(str(tmp_path / "mask.png"), photo(), (60, 44), counted), REFERENCE)
    Image.new("L", (60, 44), 5).save(tmp_path / "mask.png")
    with pytest.raises(Refusal, match=r"of no class of this model, \[5\]: its classes are 1 to 4"):
        open_reference(str(tmp_path / "mask.png"), photo(), (60, 44), counted)


def test_a_reference_is_turned_as_in_training(loaded, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    stored = np.rot90(REFERENCE).copy()
    for name, image in (("upright", photo()), ("turned", photo().transpose(Image.Transpose.ROTATE_90))):
        image.save(tmp_path / f"{name}.png", exif=exif if name == "turned" else None)
    for picture, pixels, options in (
        ("upright", REFERENCE, {}),
        ("upright", stored, {"exif": exif}),
        ("turned", REFERENCE, {}),  # as the image is seen
        ("turned", stored, {"exif": exif}),
        ("turned", stored, {}),  # as it is stored, without the tag
    ):
        Image.fromarray(pixels).save(tmp_path / "mask.png", **options)
        image = open_picture(str(tmp_path / f"{picture}.png"), "The image")
        assert upright(image).size == (60, 44)
        labels = open_reference(str(tmp_path / "mask.png"), image, (60, 44), loaded)
        assert np.array_equal(labels, REFERENCE)


def test_estimators_that_compare_the_maps_of_one_step_can_be_chosen(loaded):
    assert ESTIMATOR_NAMES == ("leave_one_out", "pairwise_spatial_difference", "reinforce")
    drawn = draw(loaded, photo(), REFERENCE, 3, 8, "mean_iou", "reinforce", 0)
    assert drawn.advantages == drawn.rewards
    with pytest.raises(Refusal, match="The advantage estimator is none of"):
        draw(loaded, photo(), REFERENCE, 3, 8, "mean_iou", "score_posterior", 0)


def test_segmenting_is_bounded(loaded):
    result = segment(loaded, photo())
    assert result.mask.shape == result.entropy.shape == (44, 60)
    assert 0 <= result.entropy.min() <= result.entropy.max() <= np.log(4) + 1e-5
    assert sum(area["pixels"] for area in result.areas) == 44 * 60
    assert sum(area["fraction"] for area in result.areas) == pytest.approx(1)
    many = replace(loaded, class_names=["x"] * 200)
    with pytest.raises(Refusal, match="4.2 million pixels; maps are drawn of images with up to 4 million"):
        draw(loaded, Image.new("RGB", (2100, 2000)), REFERENCE, 2, 8, "mean_iou", "pairwise_spatial_difference", 0)
    with pytest.raises(Refusal, match="2.0 million pixels; with 200 classes up to 1.3 million are accepted"):
        segment(many, Image.new("RGB", (2000, 1000)))
    loaded.processor.size["height"] = 2048
    loaded.dry_run.input_size.cache_clear()
    try:
        with pytest.raises(Refusal, match="A window of 32 pixels takes 381 places in the model's input of 64 x 2048"):
            segment(loaded, photo(), window=32)
    finally:
        loaded.processor.size["height"] = 64
        loaded.dry_run.input_size.cache_clear()
