"""Which columns, splits, names and rows are taken where nobody says."""

import datasets
import numpy as np
import PIL.Image
import pytest
from helpers.rows import encoded, ids, orientation, picture, rows

from rss_hf.data import IGNORE_INDEX, VOC_CLASS_NAMES, rename_columns
from rss_hf.data.columns import choose_split, find_class_names, hold_out, subsample


def streamed(stored):
    return stored.to_iterable_dataset()


@pytest.mark.parametrize("kind", [lambda stored: stored, streamed])
def test_images_and_masks_are_found_by_their_names(kind):
    for image_column, mask_column in (("image", "mask"), ("pixel_values", "annotation"), ("img", "labels")):
        stored = rows([ids(), ids((1,))], image_column=image_column, mask_column=mask_column, id=["a", "b"])
        renamed = rename_columns(kind(stored))
        assert sorted(renamed.column_names) == ["id", "image", "mask"]
        for row, index in zip(renamed, range(2), strict=True):
            np.testing.assert_array_equal(np.array(row["image"]), np.array(picture(index)))
            assert row["image"].mode == "RGB" and row["mask"].mode == "P" and row["id"] == "ab"[index]
        np.testing.assert_array_equal(np.array(row["mask"]), ids((1,)))


def test_tags_are_no_masks_unless_asked_for():
    tagged = rows(images=[picture()], label=["cat"], annotation=["a cat"])
    assert rename_columns(tagged).column_names == ["image", "label", "annotation"]
    with pytest.raises(
        ValueError, match=r"The column 'label' of 'set' holds Value\('string'\), not images. .*mask_col"
    ):
        rename_columns(tagged, mask_column="label", name="'set'")
    masked = rows([ids()], mask_column="labels", label=["cat"])
    assert sorted(rename_columns(masked).column_names) == ["image", "label", "mask"]


@pytest.mark.parametrize(
    ("columns", "options", "told"),
    [
        ({"photo": "images"}, {}, ["no column of images called image or", "['photo']", "image_column", "rename it"]),
        ({"image": "words"}, {}, ["no column of images called image or", "['image']"]),
        ({"image": "images", "mask": "words"}, {}, ["'mask'", "not images", "rename or cast"]),
        ({"image": "images"}, {"image_column": "photo"}, ["no column 'photo'", "['image']", "image_column"]),
        ({"image": "images"}, {"mask_column": "gt"}, ["no column 'gt'", "mask_column"]),
        ({"image": "images"}, {"mask_column": "image"}, ["'image'", "cannot be the image and the mask"]),
        ({"img": "images", "image": "words"}, {}, ["'img'", "'image'", "another column of that name"]),
    ],
)
def test_what_cannot_be_found_is_named(columns, options, told):
    features = {
        name: datasets.Image() if kind == "images" else datasets.Value("string") for name, kind in columns.items()
    }
    values = {name: [picture() if kind == "images" else "word"] for name, kind in columns.items()}
    with pytest.raises(ValueError) as error:
        rename_columns(datasets.Dataset.from_dict(values, features=datasets.Features(features)), **options)
    for words in told:
        assert words in str(error.value)


def test_streams_whose_columns_are_not_known_are_refused():
    stream = rows([ids()]).to_iterable_dataset().map(lambda row: row)
    with pytest.raises(ValueError, match="columns of the data set are not known.*features="):
        rename_columns(stream)


def test_a_renamed_stream_keeps_the_files_as_they_are():
    """`datasets` would decode and encode them again: another JPEG, and no EXIF tag left."""
    file = encoded(picture(), "JPEG", quality=30, exif=orientation(6))
    stream = rename_columns(rows([ids()], [file], image_column="img").to_iterable_dataset())
    (row,) = stream.cast_column("image", datasets.Image(decode=False))
    assert row["image"]["bytes"] == file["bytes"]
    (row,) = stream
    assert isinstance(row["image"], PIL.Image.Image) and row["image"].size == (6, 8)


def test_splits_are_asked_for_or_the_first_there_is():
    assert choose_split(None, ("train", "training"), ["val", "training"], "'set'", "train_split") == "training"
    assert choose_split("val", ("train", "training"), ["val", "training"], "'set'", "train_split") == "val"
    with pytest.raises(
        ValueError, match=r"'set' has no split called train or training; it has \['val'\].*train_split"
    ):
        choose_split(None, ("train", "training"), ["val"], "'set'", "train_split")


def test_names_are_those_passed_or_known(tmp_path):
    assert find_class_names("nowhere", ("a", "b")) == ["a", "b"]
    names = find_class_names("jxie/pascal-voc-2012", None)
    assert names == VOC_CLASS_NAMES and names is not VOC_CLASS_NAMES
    assert find_class_names("shapes-hard", None)[-1] == "crescent"
    assert len(find_class_names("set", [str(i) for i in range(IGNORE_INDEX)])) == 255
    (tmp_path / "id2label.json").write_text('{"1": "b", "0": "a"}')
    assert find_class_names(str(tmp_path), None) == ["a", "b"]


def test_streams_keep_their_first_rows_and_hold_out_none():
    stored = rows([ids()] * 5, id=list("abcde"))
    assert [row["id"] for row in subsample(streamed(stored), 2, seed=0)] == ["a", "b"]
    assert subsample(stored, None, seed=0) is stored and subsample(stored, 5, seed=0) is stored
    kept = subsample(stored, 4, seed=0)["id"][:]
    assert len(kept) == len(set(kept)) == 4 and set(kept) < set("abcde") and kept != sorted(kept)
    with pytest.raises(ValueError, match="'set' has no split to evaluate on, and rows cannot be held out of a stream"):
        hold_out(streamed(stored), 0.5, 0, "'set'")
