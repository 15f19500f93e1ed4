import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from rss_hf.data import voc_palette
from rss_hf.reporting.figures import colorize, comparison_sheet, heat_map, overlay, training_curves


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
def test_colorized_mask_is_saved_and_read_back_as_labels(tmp_path, convert):
    mask = np.array([[0, 1, 2], [20, 21, 255]])
    palette = np.arange(63, dtype=np.uint8).reshape(21, 3)
    colorize(convert(mask), palette).save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as picture:
        assert picture.mode == "P" and picture.size == (3, 2)
        assert np.array_equal(np.asarray(picture), mask)
        colours = np.asarray(picture.convert("RGB"))
    assert np.array_equal(colours[0], palette[:3])
    assert np.array_equal(colours[1], [palette[20], voc_palette()[21], voc_palette()[255]])


def test_masks_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"got \(1, 2, 2\)"):
        colorize(np.zeros((1, 2, 2), dtype=int), voc_palette())
    with pytest.raises(ValueError, match="got -100 to 3"):
        colorize(np.array([[-100, 3]]), voc_palette())


def test_overlay_mixes_colours_and_leaves_void_alone():
    image = Image.fromarray(np.full((1, 3, 3), 200, dtype=np.uint8))
    mask = np.array([[0, 1, 255]])
    mixed = np.asarray(overlay(image, mask, voc_palette(2), alpha=0.25)).astype(int)
    expected = [[150, 150, 150], [182, 150, 150], [200, 200, 200]]  # 0.75 * 200 + 0.25 * (0 or 128)
    assert np.abs(mixed[0] - expected).max() <= 1
    assert np.array_equal(overlay(image, mask, voc_palette(2), alpha=1.0).getpixel((1, 0)), (128, 0, 0))
    with pytest.raises(ValueError, match=r"image is \(3, 1\) but mask is \(1, 3\)"):
        overlay(image, mask.T, voc_palette())


def test_heat_map_brightens_towards_the_maximum():
    picture = heat_map(torch.tensor([[-1.0, 0.0, 1.0], [1.5, 2.0, 9.0]]), maximum=2.0)
    assert picture.mode == "RGB" and picture.size == (3, 2)
    brightness = np.asarray(picture).astype(int).sum(axis=-1).flatten()
    assert brightness[0] == brightness[1] < brightness[2] < brightness[3] < brightness[4] == brightness[5]


def test_comparison_sheet_shows_the_masks_in_their_colours(tmp_path):
    image = Image.fromarray(np.full((30, 40, 3), 99, dtype=np.uint8))
    reference = np.full((30, 40), 1)
    reference[:5] = 255
    rows = [(image, reference, torch.full((30, 40), 2)), (image, None, np.zeros((60, 20), dtype=int))]
    names = ["background", "cat", "dog", "absent"]
    comparison_sheet(rows, voc_palette(4), names, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(maxcolors=2**20)}
    palette = voc_palette()
    assert {palette[label] for label in (0, 1, 2, 255)} | {(99, 99, 99)} <= colours
    assert palette[3] not in colours
    comparison_sheet([(image, None, row[2]) for row in rows], palette, names, tmp_path / "no_references.png")
    with Image.open(tmp_path / "sheet.png") as three, Image.open(tmp_path / "no_references.png") as two:
        assert (three.width, two.width) == (9 * 120, 6 * 120) and three.height == two.height
    ends = {tuple(matplotlib.colormaps["inferno"](end, bytes=True)[:3]) for end in (0.0, 1.0)}
    scores = [("red 0.5", None), ("red 1.5", np.array([[0.0, 1.0]]))]
    rows = [(image, None, row[2]) for row in rows]
    comparison_sheet(rows, palette, names, tmp_path / "scores.png", scores)
    with Image.open(tmp_path / "scores.png") as sheet:
        cells = sheet.crop((6 * 120, 0, sheet.width, sheet.height)).convert("RGB")
        colours = {colour for _, colour in cells.getcolors(maxcolors=2**20)}
        assert sheet.width == 9 * 120 and ends <= colours
    with pytest.raises(ValueError, match="zip"):
        comparison_sheet(rows, palette, names, tmp_path / "scores.png", scores[:1])
    with pytest.raises(ValueError, match="empty.png"):
        comparison_sheet([], palette, names, tmp_path / "empty.png")


def test_training_curves_show_what_was_logged(tmp_path):
    rewards = [{"step": step, "reward": step / 10, "entropy": 2 - step / 10} for step in range(1, 11)]
    training_curves(rewards, tmp_path / "train.png")
    training_curves([*rewards, {"step": 10, "eval_mean_iou": 0.4}, {"train_runtime": 3.0}], tmp_path / "eval.png")
    with Image.open(tmp_path / "train.png") as two, Image.open(tmp_path / "eval.png") as three:
        assert three.height == pytest.approx(1.5 * two.height, rel=0.02) and three.width == two.width
    training_curves([*rewards, {"step": 5, "eval_reward": 0.4}, {"step": 10, "eval_reward": 0.6}], tmp_path / "no.png")
    with Image.open(tmp_path / "eval.png") as scored, Image.open(tmp_path / "no.png") as rewarded:
        assert scored.size == rewarded.size and scored.tobytes() != rewarded.tobytes()
    with pytest.raises(ValueError, match="reward.*entropy.*eval_mean_iou.*eval_reward"):
        training_curves([{"step": 1, "loss": 0.3}], tmp_path / "none.png")
