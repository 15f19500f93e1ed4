"""Data without masks, or with masks for some rows alone."""

import logging

import datasets
import numpy as np
import pytest
import torch
from helpers.photos import NAMES, write_photos
from helpers.rows import encoded, ids, p_mode, picture, rows, save_parquet
from transformers import SegformerImageProcessor

from rss_hf.data import (
    IGNORE_INDEX,
    check_rows,
    check_splits,
    evaluation_examples,
    labelled_examples,
    load_segmentation_dataset,
    rename_columns,
    training_examples,
)


PROCESSOR = SegformerImageProcessor(size={"height": 6, "width": 8})


STORED = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
NEITHER = {"bytes": None, "path": None}  # as in parquet files that datasets did not write


def with_masks(masks):
    """Rows with these encoded masks, `NEITHER` among them, which datasets would refuse to encode."""
    columns = {"image": [encoded(picture(i)) for i in range(len(masks))], "mask": masks}
    stored = datasets.Dataset.from_dict(columns, features=datasets.Features(image=STORED, mask=STORED))
    return stored.cast_column("image", datasets.Image()).cast_column("mask", datasets.Image())


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("streaming", [False, True])
def test_a_folder_of_images_with_metadata(tmp_path, streaming):
    areas = write_photos(tmp_path)
    data = load_segmentation_dataset(str(tmp_path / "photos"), class_names=NAMES, streaming=streaming)
    assert set(data.train.column_names) == {"image", "areas", "label"}
    assert sorted(row["areas"] for row in data.train) == sorted(areas["train"])
    assert [row["label"] for row in data.validation] == [[], ["red"], []]
    example = next(iter(training_examples(data.validation, PROCESSOR)))
    assert set(example) == {"pixel_values", "areas", "label"} and example["areas"] == areas["validation"][0]


def test_a_folder_of_images_alone_and_one_of_classes(tmp_path):
    for i in range(10):
        (tmp_path / "flat").mkdir(exist_ok=True)
        picture(i).save(tmp_path / "flat" / f"{i}.png")
        (tmp_path / "classes" / "train" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        picture(i).save(tmp_path / "classes" / "train" / "ab"[i % 2] / f"{i}.png")
    flat = load_segmentation_dataset(str(tmp_path / "flat"), class_names=NAMES)
    assert flat.train.column_names == ["image"] and len(flat.train) == 9 and len(flat.validation) == 1
    sorted_in = load_segmentation_dataset(str(tmp_path / "classes"), class_names=NAMES)
    assert isinstance(sorted_in.train.features["label"], datasets.ClassLabel)
    with pytest.raises(ValueError, match=r"images are in \['image'\], other columns are \['label'\].*'none' where"):
        load_segmentation_dataset(str(tmp_path / "classes"), class_names=NAMES, mask_column="label")


@pytest.mark.parametrize("kind", [lambda stored: stored, lambda stored: stored.to_iterable_dataset()])
def test_masks_that_the_user_wants_left_out(kind):
    stored = rows([ids()], mask_column="annotation", label=["cat"]).add_column("mask", ["a word"])
    left = rename_columns(kind(stored), mask_column="none")
    assert set(left.column_names) == {"image", "label"}
    assert set(rename_columns(left).column_names) == {"image", "label"}


def test_rows_of_which_some_have_masks(caplog):
    stored = with_masks([None, encoded(p_mode(ids((0, 1)))), NEITHER, encoded(p_mode(ids((1, 2))))])
    contents = check_rows(stored, 3, "train")
    assert (contents.num_unmasked, contents.faults, dict(contents.pixels)) == (2, [], {0: 24, 1: 48, 2: 24})
    with caplog.at_level(logging.WARNING):
        check_splits({"train": stored, "all": rows([ids()])}, 3)
    assert "split 'train': 2 of 4 rows have no mask; all their pixels count as unlabelled." in caplog.text
    assert "split 'all': " not in caplog.text
    for kind in (stored, stored.to_iterable_dataset()):
        scored = list(evaluation_examples(kind, PROCESSOR, ignore_index=-100))
        assert [(example["labels"] == -100).all().item() for example in scored] == [True, False, True, False]
        np.testing.assert_array_equal(scored[3]["labels"], ids((1, 2)))
        trained = list(training_examples(kind, PROCESSOR))
        assert [example["labels"].unique().tolist() == [IGNORE_INDEX] for example in trained] == [True, False] * 2
        labelled = list(labelled_examples(training_examples(kind, PROCESSOR)))
        assert len(labelled) == 2
        for index, example in zip((1, 3), labelled, strict=True):
            if kind is stored:
                assert torch.equal(example["labels"], trained[index]["labels"])
            assert example["labels"].min() < IGNORE_INDEX


def test_rows_without_a_mask_do_not_hide_binary_masks():
    stored = rows([None, ids((0, 255)), None, ids((0, 255))])
    examples = training_examples(stored, PROCESSOR)
    examples[0]
    with pytest.raises(ValueError, match="only 0 and 255"):
        examples[1]
    with pytest.raises(ValueError, match="only 0 and 255"):
        check_splits({"train": stored}, 3)


@pytest.mark.parametrize("empty", [None, NEITHER])
def test_a_split_of_which_no_row_has_a_mask_has_none(tmp_path, empty):
    mask = encoded(p_mode(ids()))
    name = save_parquet(tmp_path / "set", train=with_masks([empty] * 4), validation=with_masks([empty, mask]))
    data = load_segmentation_dataset(name, class_names=["a", "b", "c"])
    assert data.train.column_names == ["image"] and data.validation.column_names == ["image", "mask"]
    assert set(training_examples(with_masks([empty] * 2), PROCESSOR)[0]) == {"pixel_values"}
    taken = with_masks([empty] * 200 + [mask]).select([3, 200, 4])
    assert "mask" in rename_columns(taken).column_names
    assert "mask" not in rename_columns(taken.select([0, 2])).column_names
    assert check_rows(with_masks([empty] * 2), 3, "train").num_unmasked == 2


def test_a_missing_image_stays_a_fault():
    with pytest.raises(ValueError, match="row 1 of split 'train': the image is missing"):
        check_splits({"train": rows([None, None, ids()], [picture(), None, picture()])}, 3)


def test_a_folder_of_masks_for_some_images(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in "abcd":
        (tmp_path / "images" / f"{name}.png").write_bytes(encoded(picture())["bytes"])
    (tmp_path / "masks" / "c.png").write_bytes(encoded(p_mode(ids()))["bytes"])
    data = load_segmentation_dataset(f"{tmp_path}/images,{tmp_path}/masks", class_names=["a", "b", "c"])
    kept = [row for split in (data.train, data.validation) if "mask" in split.column_names for row in split]
    assert [row["id"] for row in kept if row["mask"] is not None] == ["c"]
