from io import BytesIO

import datasets
import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest
from helpers.rows import ids, p_mode, picture, rows

from rss_hf.data.masks import VOID, check_labels, mask_to_indices, open_pair, undecoded, voc_palette


def test_voc_palette_is_the_published_one():
    palette = voc_palette()
    assert len(palette) == len(set(palette)) == 256
    assert palette[:5] == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    assert palette[7] == (128, 128, 128)
    assert palette[8] == (64, 0, 0)
    assert palette[15] == (192, 128, 128)
    assert palette[20] == (0, 64, 128)
    assert palette[VOID] == (224, 224, 192)
    assert voc_palette(21) == palette[:21]


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "I;16", "I"])
def test_mask_modes_give_the_same_ids(mode):
    expected = ids(range(21))
    expected[0, :3] = VOID
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
    np.testing.assert_array_equal(mask_to_indices(mask, voc_palette(2), "row 0"), expected)


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


def test_check_labels_accepts_good_masks_and_caches(tmp_path, monkeypatch):
    rows([ids(), PIL.Image.fromarray(ids()), p_mode(ids()).convert("RGB")]).save_to_disk(tmp_path)
    train = datasets.load_from_disk(tmp_path)
    check_labels(train, 3, "train")
    monkeypatch.setattr(PIL.Image, "open", lambda *_: pytest.fail("the second check read the masks again"))
    check_labels(train, 3, "train")
    with pytest.raises(ValueError, match=r"first in row 0.* 1 mask ids .*\[2\]"):
        check_labels(train, 2, "train")


def damaged(image):
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return {"bytes": buffer.getvalue()[:-40], "path": "broken.png"}


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"masks": [ids(), ids((0, 3, 77))]}, ["split 'train', first in row 1", "[3, 77]", "0 to 2", "class_names"]),
        ({"masks": [ids(), ids(size=(6, 8))]}, ["row 1 of split 'train'", "8x6", "6x8", "one size"]),
        ({"masks": [PIL.Image.new("RGB", (8, 6), (9, 9, 9))]}, ["row 0", "(9, 9, 9)"]),
        ({"masks": [PIL.Image.new("RGBA", (8, 6))]}, ["row 0", "'RGBA'"]),
        ({"masks": [ids((0, VOID)), ids((0,))]}, ["split 'train'", "only 0 and 255", "as 1"]),
        ({"masks": [None]}, ["row 0", "the mask is missing"]),
        ({"masks": [ids()], "images": [{"bytes": b"text", "path": "x.jpg"}]}, ["row 0", "image cannot be opened"]),
        ({"masks": [damaged(picture())]}, ["row 0", "broken.png", "mask cannot be decoded"]),
        ({"masks": [ids()], "images": [PIL.Image.new("I;16", (8, 6))]}, ["row 0", "'I;16'", "8 bits"]),
    ],
)
def test_check_labels_refuses(bad, told):
    with pytest.raises(ValueError) as error:
        check_labels(rows(**bad), 3, "train")
    for words in told:
        assert words in str(error.value)


def test_exif_orientation_counts_only_where_the_mask_wants_it():
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = 6
    buffer = BytesIO()
    picture(size=(8, 6)).save(buffer, "PNG", exif=exif)
    image = {"bytes": buffer.getvalue(), "path": None}
    stored, shown = undecoded(rows([ids(size=(8, 6)), ids(size=(6, 8))], [image, image]))
    assert [part.size for part in open_pair(stored, "row 0")] == [(8, 6), (8, 6)]
    assert [part.size for part in open_pair(shown, "row 1")] == [(6, 8), (6, 8)]
    np.testing.assert_array_equal(np.array(open_pair(stored, "row 0")[0]), np.array(picture(size=(8, 6))))
    del stored["mask"]
    assert open_pair(stored, "row 0")[0].size == (6, 8)


def test_images_that_cannot_be_turned_are_named():
    cut_off = damaged(picture())
    with pytest.raises(ValueError, match="row 3: the image cannot be decoded.*Replace or remove"):
        open_pair({"image": cut_off}, "row 3")
    with pytest.raises(ValueError, match="row 3: the image cannot be decoded"):
        open_pair({"image": cut_off, "mask": p_mode(ids(size=(6, 8)))}, "row 3")
    buffer = BytesIO()
    picture().save(buffer, "PNG", exif=b"no EXIF data")
    with pytest.raises(ValueError, match="row 3: the image cannot be decoded"):
        open_pair({"image": {"bytes": buffer.getvalue(), "path": None}}, "row 3")
