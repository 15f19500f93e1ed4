"""One file gives one image: to training, evaluation, streams and prediction alike."""

import datasets
import numpy as np
import PIL.Image
import pytest
import torch
from helpers.rows import TURNS, encoded, orientation, p_mode, picture
from transformers import SegformerImageProcessor

from rss_hf.data import evaluation_examples, open_image, to_upright_rgb, training_examples


WIDE, SQUARE = picture(seed=1, size=(12, 9)), picture(seed=2, size=(10, 10))
RGB = np.asarray(WIDE)
GREY = RGB[..., 0]
ALPHA = np.resize(np.array([0, 255, 255], np.uint8), GREY.shape)
PALETTED = WIDE.quantize(16)
CMYK = WIDE.convert("CMYK")


def grey(pixels):
    return np.repeat(pixels[..., None], 3, axis=2)


def over_white(pixels, alpha):
    return np.where(alpha[..., None] == 0, 255, pixels).astype(np.uint8)


def odd_files():
    """By name: a file's image, how it is saved, and the pixels (h, w, 3) uint8 it stands for, if not Pillow's own."""
    paletted = np.asarray(PALETTED.convert("RGB"))
    grey16 = (GREY.astype(int) * 257 - 60).clip(min=0).astype(np.uint16)  # to be rounded to the nearest of 256 steps
    files = {
        "rgb.png": (WIDE, {}, RGB),
        "rgb.jpg": (WIDE, {}, None),
        "rgba_with_hidden_colours.png": (PIL.Image.fromarray(np.dstack([RGB, ALPHA])), {}, over_white(RGB, ALPHA)),
        "rgb_with_a_transparent_colour.png": (
            WIDE,
            {"transparency": tuple(RGB[4, 5].tolist())},
            over_white(RGB, np.any(RGB - RGB[4, 5], axis=-1)),
        ),
        "la.png": (PIL.Image.fromarray(np.dstack([GREY, ALPHA])), {}, over_white(grey(GREY), ALPHA)),
        "p.png": (PALETTED, {}, paletted),
        "p_with_transparency.png": (
            PALETTED,
            {"transparency": 3},
            over_white(paletted, np.asarray(PALETTED) != 3),
        ),
        "l.png": (PIL.Image.fromarray(GREY), {}, grey(GREY)),
        "1.png": (PIL.Image.fromarray(GREY > 99), {}, grey(np.where(GREY > 99, 255, 0).astype(np.uint8))),
        "cmyk.jpg": (CMYK, {}, None),
        "cmyk.tif": (CMYK, {}, None),
        "grey16.png": (PIL.Image.fromarray(grey16), {}, grey(GREY)),
        "grey16_turned.png": (PIL.Image.fromarray(grey16), {"exif": orientation(6)}, TURNS[6](grey(GREY))),
        "grey16.tif": (PIL.Image.fromarray(grey16), {}, grey(GREY)),
        "grey16_turned.tif": (PIL.Image.fromarray(grey16), {"exif": orientation(6)}, TURNS[6](grey(GREY))),
        "l_turned.tif": (PIL.Image.fromarray(GREY), {"exif": orientation(5)}, TURNS[5](grey(GREY))),
        "rgba_turned.tif": (
            PIL.Image.fromarray(np.dstack([RGB, ALPHA])),
            {"exif": orientation(8)},
            TURNS[8](over_white(RGB, ALPHA)),
        ),
        "grey16_with_transparency.png": (
            PIL.Image.fromarray(grey16),
            {"transparency": int(grey16[2, 3])},
            over_white(grey(GREY), GREY - GREY[2, 3]),
        ),
    }
    for tag, turn in TURNS.items():
        for name, image in (("wide", WIDE), ("square", SQUARE)):
            files[f"{name}_{tag}.png"] = (image, {"exif": orientation(tag)}, turn(np.asarray(image)))
    files["turned.jpg"] = (WIDE, {"exif": orientation(8)}, None)
    return files


FILES = odd_files()


@pytest.mark.parametrize("name", FILES)
def test_a_file_gives_the_same_pixels_everywhere(name, tmp_path):
    image, options, expected = FILES[name]
    path = tmp_path / name
    image.save(path, **options)
    if expected is None:  # lossy: what Pillow decodes, turned
        turn = TURNS[options["exif"][0x0112]] if options else TURNS[1]
        expected = turn(np.asarray(PIL.Image.open(path).convert("RGB")))
    seen = open_image(path)
    assert seen.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(seen), expected)

    processor = SegformerImageProcessor(size={"height": 16, "width": 14})
    predicted_from = processor(seen, return_tensors="pt")["pixel_values"][0]
    mask = p_mode(np.zeros(expected.shape[:2], np.uint8))
    both = datasets.Dataset.from_dict({"image": [str(path)], "mask": [encoded(mask)]})
    both = both.cast_column("image", datasets.Image()).cast_column("mask", datasets.Image())
    unaugmented = {"image_size": seen.size[::-1], "scale_range": (1, 1), "photometric_distortion": False}
    plain = SegformerImageProcessor(do_normalize=False)
    for rows in (both, both.remove_columns("mask"), both.to_iterable_dataset()):
        (evaluated,) = evaluation_examples(rows, processor)
        assert torch.equal(evaluated["pixel_values"], predicted_from)
        (trained_on,) = training_examples(rows, plain, **unaugmented)
        pixels = (255 * trained_on["pixel_values"]).round().permute(1, 2, 0).numpy()
        assert any(np.array_equal(pixels, view) for view in (expected, expected[:, ::-1]))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_numbers_are_no_colours(mode, tmp_path):
    image = PIL.Image.new(mode, (4, 4), 7)
    with pytest.raises(ValueError, match=f"its mode is '{mode}', whose range is not known; save it with 8 or 16 bits"):
        to_upright_rgb(image)
    image.save(tmp_path / "depth.tif")
    with pytest.raises(ValueError, match=rf"depth\.tif cannot be read as an image: its mode is '{mode}'"):
        open_image(tmp_path / "depth.tif")


def test_files_that_are_no_images_are_named(tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(encoded(WIDE)["bytes"][:-40])
    for name in ("notes.png", "cut.png", "missing.png"):
        with pytest.raises(ValueError, match=rf"{name} cannot be read as an image: .* Replace or remove the file"):
            open_image(tmp_path / name)


def test_what_is_decoded_once_stays_as_it_is():
    image = PIL.Image.fromarray(np.dstack([RGB, ALPHA]))
    once = to_upright_rgb(image)
    assert image.mode == "RGBA" and np.array_equal(to_upright_rgb(once), once)
