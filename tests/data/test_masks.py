"""Which class a pixel of a mask image has: by its value, or by its colour and a palette."""

import numpy as np
import PIL.Image
import pytest
from helpers.rows import ids, p_mode

from rss_hf.data import IGNORE_INDEX, mask_to_indices, parse_palette, voc_palette


def test_voc_palette_is_the_published_one():
    palette = voc_palette()
    assert len(palette) == len(set(palette)) == 256
    assert palette[:5] == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    assert palette[7] == (128, 128, 128)
    assert palette[8] == (64, 0, 0)
    assert palette[15] == (192, 128, 128)
    assert palette[20] == (0, 64, 128)
    assert palette[IGNORE_INDEX] == (224, 224, 192)
    assert voc_palette(21) == palette[:21]


def test_palettes_are_triples_or_colour_strings():
    expected = [(128, 64, 0), (0, 0, 255), (0, 128, 0)]
    assert parse_palette(["#804000", "rgb(0, 0, 255)", "green"], 3) == expected
    assert parse_palette([[128, 64, 0], (0, 0, 255), np.array([0, 128, 0])]) == expected
    assert parse_palette(expected, 3) == expected
    assert parse_palette(None, 3) is None


@pytest.mark.parametrize(
    ("palette", "told"),
    [
        (["#804000", "no colour"], ["'no colour' is no colour", "'#804000'"]),
        (["#80400080", "red"], ["'#80400080' is no colour"]),
        ([(0, 0, 0), (0, 0, 256)], ["(0, 0, 256) is no colour", "0 to 255"]),
        ([(0, 0, 0), (0, 1)], ["(0, 1) is no colour"]),
        ([0, 1], ["0 is no colour"]),
        (["red", "blue", "green"], ["3 colours for 2 classes"]),
        (["red", "#ff0000"], ["(255, 0, 0)", "more than one class"]),
    ],
)
def test_wrong_palettes_are_named(palette, told):
    with pytest.raises(ValueError, match="palette") as error:
        parse_palette(palette, 2)
    for words in told:
        assert words in str(error.value)


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "I;16", "I"])
def test_mask_modes_give_the_same_ids(mode):
    expected = ids(range(21))
    expected[0, :3] = IGNORE_INDEX
    mask = {
        "P": p_mode(expected),
        "L": PIL.Image.fromarray(expected),
        "RGB": p_mode(expected).convert("RGB"),
        "I;16": PIL.Image.fromarray(expected.astype(np.uint16)),
        "I": PIL.Image.fromarray(expected.astype(np.int32)),
    }[mode]
    assert mask.mode == mode
    indices = mask_to_indices(mask, voc_palette(21), "row 0")
    assert indices.dtype == np.uint8
    np.testing.assert_array_equal(indices, expected)


def test_one_bit_masks_are_0_and_1():
    expected = ids((0, 1, 1))
    mask = PIL.Image.fromarray(expected.astype(bool))
    assert mask.mode == "1"
    np.testing.assert_array_equal(mask_to_indices(mask, None, "row 0"), expected)


def test_colours_are_read_by_the_palette():
    colors = [(128, 64, 0), (0, 0, 255), (0, 0, 0)]
    expected = ids((0, 1, 2, 2))
    mask = PIL.Image.fromarray(np.array(colors, np.uint8)[expected])
    np.testing.assert_array_equal(mask_to_indices(mask, colors, "row 0"), expected)
    np.testing.assert_array_equal(mask_to_indices(mask, colors[::-1], "row 0"), 2 - expected)
    np.testing.assert_array_equal(mask_to_indices(PIL.Image.fromarray(expected), colors, "row 0"), expected)
    with pytest.raises(ValueError, match=r"row 3: the mask is RGB, and no palette .* Pass palette"):
        mask_to_indices(mask, None, "row 3")


def test_void_has_a_colour_in_vocs_palette_only():
    mask = PIL.Image.new("RGB", (2, 2), (224, 224, 192))
    assert (mask_to_indices(mask, voc_palette(5), "row 0") == IGNORE_INDEX).all()
    with pytest.raises(ValueError, match=r"not in the palette of 2 classes: \[\(224, 224, 192\)\]"):
        mask_to_indices(mask, [(0, 0, 0), (255, 0, 0)], "row 0")
    assert (mask_to_indices(mask, [(0, 0, 0), (224, 224, 192)], "row 0") == 1).all()


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (PIL.Image.new("RGB", (4, 4), (1, 2, 3)), ["RGB", "(1, 2, 3)", "palette of 21"]),
        (PIL.Image.new("RGB", (4, 4), voc_palette()[21]), ["RGB", "palette of 21"]),
        (PIL.Image.new("RGBA", (4, 4)), ["'RGBA'"]),
        (PIL.Image.fromarray(np.full((4, 4), 65535, np.uint16)), ["'I;16'", "65535"]),
        (PIL.Image.fromarray(np.full((4, 4), -1, np.int32)), ["'I'", "-1"]),
        (PIL.Image.new("F", (4, 4)), ["'F'"]),
    ],
)
def test_masks_that_do_not_say_the_class_are_refused(mask, told):
    with pytest.raises(ValueError, match="8-bit PNG") as error:
        mask_to_indices(mask, voc_palette(21), "row 7 of split 'train'")
    for words in ["row 7 of split 'train'", *told]:
        assert words in str(error.value)
