"""Image and mask of a row: in one orientation, of one size, or refused with the row's name."""

import datasets
import fsspec
import numpy as np
import PIL.Image
import pytest
from helpers.rows import TURNS, encoded, ids, orientation, p_mode, picture, rows

from rss_hf.data import IGNORE_INDEX, check_labels, voc_palette
from rss_hf.data.rows import open_row


def cut_off(image):
    whole = encoded(image, path="broken.png")
    return whole | {"bytes": whole["bytes"][:-40]}


@pytest.mark.parametrize("size", [(8, 6), (7, 7)])
@pytest.mark.parametrize("tag", TURNS)
def test_images_are_upright_and_masks_fit_them(tag, size):
    image, stored = picture(size=size), ids(range(5), size)
    upright, turn = TURNS[tag](np.asarray(image)), TURNS[tag]
    row = {"image": encoded(image, exif=orientation(tag))}
    for mask, expected in (
        (encoded(p_mode(np.ascontiguousarray(turn(stored)))), turn(stored)),  # as the image is seen
        (encoded(p_mode(stored), exif=orientation(tag)), turn(stored)),  # as it is stored, with the tag
        # As it is stored, without the tag: it has the upright size too where that says nothing.
        (encoded(p_mode(stored)), turn(stored) if upright.shape[:2] != stored.shape else stored),
    ):
        seen, indices = open_row(row | {"mask": mask}, "row 0")
        np.testing.assert_array_equal(np.asarray(seen), upright)
        np.testing.assert_array_equal(indices, expected)
    seen, indices = open_row(row, "row 0")
    np.testing.assert_array_equal(np.asarray(seen), upright)
    assert indices is None


@pytest.mark.parametrize("mode", ["L", "1", "I;16", "I"])
def test_masks_of_every_mode_turn_with_the_image(mode):
    values = {"1": bool, "I;16": np.uint16, "I": np.int32}.get(mode, np.uint8)
    stored = ids((0, 1, 1))
    mask = PIL.Image.fromarray(stored.astype(values))
    assert mask.mode == mode
    row = {"image": encoded(picture(), exif=orientation(6)), "mask": encoded(mask, "TIFF")}
    np.testing.assert_array_equal(open_row(row, "row 0")[1], TURNS[6](stored))


@pytest.mark.parametrize("mode", ["P", "L", "I;16"])
def test_plain_tiff_masks_turn_as_their_tag_says(mode, tmp_path):
    stored = ids(range(5))
    mask = (
        p_mode(stored) if mode == "P" else PIL.Image.fromarray(stored.astype(np.uint16 if mode != "L" else np.uint8))
    )
    assert mask.mode == mode
    mask.save(tmp_path / "mask.tif", exif=orientation(6))
    row = {"image": encoded(picture(), exif=orientation(6))}
    row["mask"] = {"bytes": None, "path": str(tmp_path / "mask.tif")}
    np.testing.assert_array_equal(open_row(row, "row 0")[1], TURNS[6](stored))


def test_files_can_be_far_away():
    fsspec.filesystem("memory").pipe("/far/photo.png", encoded(picture(3))["bytes"])
    image, _ = open_row({"image": {"bytes": None, "path": "memory://far/photo.png"}}, "row 0")
    np.testing.assert_array_equal(np.asarray(image), np.asarray(picture(3)))
    with pytest.raises(ValueError, match="row 1 .*: the image cannot be opened: .*nowhere"):
        open_row({"image": {"bytes": None, "path": "memory://nowhere.png"}}, "row 1")


def test_images_that_cannot_be_decoded_are_named():
    mask = p_mode(ids(size=(6, 8)))
    for row in ({"image": cut_off(picture())}, {"image": cut_off(picture()), "mask": mask}):
        with pytest.raises(ValueError, match="row 3 .broken.png.: the image cannot be decoded.*Replace or remove"):
            open_row(row, "row 3")
    with pytest.raises(ValueError, match="row 3: the image cannot be decoded"):
        open_row({"image": encoded(picture(), exif=b"no EXIF data")}, "row 3")
    with pytest.raises(ValueError, match="row 3: the image cannot be decoded: its mode is 'F'.* save it with 8 or 16"):
        open_row({"image": PIL.Image.new("F", (8, 6))}, "row 3")
    with pytest.raises(ValueError, match=r"row 3: 1 mask ids without a class, \[2\]"):
        open_row({"image": picture(), "mask": p_mode(ids())}, "row 3", num_classes=2)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"image": encoded(picture(), path="photo.png") | {"bytes": b""}}, "row 3 (photo.png): the image cannot"),
        ({"image": None, "mask": None}, "row 3: the image is missing"),
        (
            {"image": encoded(picture(), path="photo.png"), "mask": cut_off(p_mode(ids()))},
            "row 3 (broken.png): the mask",
        ),
        (
            {"image": picture(), "mask": encoded(p_mode(ids(size=(2, 2))), path="m.png")},
            "row 3 (m.png): the image is 8x6",
        ),
        ({"image": picture(), "mask": encoded(p_mode(ids()), path="m.png")}, "row 3 (m.png): 1 mask ids"),
    ],
)
def test_errors_name_the_file_that_is_at_fault(row, told):
    with pytest.raises(ValueError) as error:
        open_row(row, "row 3", num_classes=2)
    assert str(error.value).startswith(told)


def test_check_labels_accepts_good_masks_and_caches(tmp_path, monkeypatch):
    rows([ids(), PIL.Image.fromarray(ids()), p_mode(ids()).convert("RGB")]).save_to_disk(tmp_path)
    train = datasets.load_from_disk(tmp_path)
    palette = voc_palette(3)
    check_labels(train, 3, "train", palette)
    with monkeypatch.context() as patch:
        patch.setattr(PIL.Image, "open", lambda *_: pytest.fail("the second check read the masks again"))
        check_labels(train, 3, "train", ["#000000", "#800000", "#008000"])
    with pytest.raises(
        ValueError, match=r"(?s)split 'train': mask ids \[2\]: .*row 0 of split 'train': 1 mask ids .*\[2\].*row 1"
    ):
        check_labels(train.select([0, 1]), 2, "train")
    with pytest.raises(ValueError, match="row 2 of split 'train': the mask is RGB, and no palette"):
        check_labels(train, 3, "train")
    with pytest.raises(ValueError, match="3 colours for 4 classes"):
        check_labels(train, 4, "train", palette)


def test_check_labels_takes_masks_of_stored_and_of_upright_size():
    image = encoded(picture(), exif=orientation(6))
    check_labels(rows([ids(), ids(size=(6, 8))], [image, image]), 3, "train")
    with pytest.raises(ValueError, match="^row 0 of split 'train': the image is 6x8 pixels and its mask 6x7"):
        check_labels(rows([ids(size=(6, 7))], [image]), 3, "train")


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (
            {"masks": [ids(), ids((0, 3, 77))]},
            ["row 1 of split 'train': 2 mask ids", "[3, 77]", "0 to 2", "class_names"],
        ),
        ({"masks": [ids(), ids(size=(6, 8))]}, ["row 1 of split 'train'", "8x6", "6x8", "one size"]),
        ({"masks": [PIL.Image.new("RGB", (8, 6), (9, 9, 9))]}, ["row 0", "(9, 9, 9)"]),
        ({"masks": [PIL.Image.new("RGBA", (8, 6))]}, ["row 0", "'RGBA'"]),
        ({"masks": [ids((0, IGNORE_INDEX)), ids((0,))]}, ["split 'train'", "only 0 and 255", "as 1"]),
        ({"masks": [ids()], "images": [{"bytes": b"text", "path": "x.jpg"}]}, ["row 0", "image cannot be opened"]),
        ({"masks": [cut_off(picture())]}, ["row 0", "broken.png", "mask cannot be decoded"]),
        ({"masks": [ids()], "images": [PIL.Image.new("F", (8, 6))]}, ["row 0", "'F'", "8 or 16 bits"]),
        ({"masks": [ids()], "images": [PIL.Image.new("I", (8, 6))]}, ["row 0", "'I'", "8 or 16 bits"]),
    ],
)
def test_check_labels_refuses(bad, told):
    with pytest.raises(ValueError) as error:
        check_labels(rows(**bad), 3, "train", voc_palette(3))
    for words in told:
        assert words in str(error.value)


def test_16_bit_images_pass_the_check():
    check_labels(rows([ids()], [PIL.Image.new("I;16", (8, 6))]), 3, "train")
