"""Data sets that cannot be read: the error says which file or option, and what to do."""

import json
import os
import shutil

import datasets
import pytest
from helpers.rows import ids, p_mode, picture, rows, save_parquet

from rss_hf.data import load_segmentation_dataset


NAMES = ["background", "left", "right"]
TRAIN = "data/train-00000-of-00001.parquet"


def overwrite(content):
    return lambda folder: (folder / TRAIN).write_bytes(content)


def shorten(folder):
    (folder / TRAIN).write_bytes((folder / TRAIN).read_bytes()[:-100])


def behead(folder):
    (folder / TRAIN).write_bytes((folder / TRAIN).read_bytes()[200:-20])


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("damage", [shorten, behead, overwrite(b""), overwrite(b"PAR1"), overwrite(b"text" * 50)])
def test_a_damaged_parquet_file_is_named(tmp_path, damage, streaming):
    save_parquet(tmp_path / "set", train=rows([ids()] * 3), validation=rows([ids()] * 3))
    damage(tmp_path / "set")
    with pytest.raises(ValueError) as error:
        load_segmentation_dataset(str(tmp_path / "set"), class_names=NAMES, streaming=streaming)
    assert str(tmp_path / "set" / TRAIN) in str(error.value) and "Replace or remove the file" in str(error.value)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '["a", "b"]', '{"a": "b"}', "{}", '{"0": "a", "2": "b"}', '{"0": "a", "1": null}',
     '{"0": "a", "1": ""}', '{"0": "a", "1": ["b"]}', '{"-1": "a", "0": "b"}', "\xff\xfe"],
)  # fmt: skip
def test_class_names_that_cannot_be_read_are_named(tmp_path, content):
    save_parquet(tmp_path / "set", train=rows([ids()] * 3), validation=rows([ids()] * 3))
    (tmp_path / "set" / "id2label.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match="id2label.json|class_names must be texts"):
        load_segmentation_dataset(str(tmp_path / "set"))


@pytest.mark.parametrize(
    "names", ["abc", ["a", ""], ["a", " "], [False, True], ["a", None], ["a"], [], ["a", "b", "a"]]
)
def test_class_names_that_are_none_are_refused(tmp_path, names):
    with pytest.raises(ValueError, match="class_names must be"):
        load_segmentation_dataset("shapes", class_names=names)


@pytest.mark.parametrize("option", ["max_train_samples", "max_eval_samples"])
@pytest.mark.parametrize("limit", [0, -1, -1000])
@pytest.mark.parametrize("streaming", [False, True])
def test_no_rows_at_all_cannot_be_asked_for(tmp_path, option, limit, streaming):
    name = save_parquet(tmp_path / "set", train=rows([ids()] * 3), validation=rows([ids()] * 3))
    with pytest.raises(ValueError, match=f"{option} must be at least 1, got {limit}"):
        load_segmentation_dataset(name, class_names=NAMES, streaming=streaming, **{option: limit})


def test_splits_without_rows_or_too_few_to_hold_out_are_named(tmp_path, monkeypatch):
    empty = datasets.DatasetDict(train=rows([ids()]), validation=rows([ids()]).select([]))
    with monkeypatch.context() as patch:
        patch.setattr(datasets, "load_dataset", lambda *_, **__: empty)
        patch.setattr("rss_hf.data.hub.HfApi.dataset_info", lambda *_, **__: None)
        with pytest.raises(ValueError, match="The split 'validation' of 'org/set' has no rows"):
            load_segmentation_dataset("org/set", class_names=NAMES)
    name = save_parquet(tmp_path / "set", train=rows([ids()] * 2))
    for fraction in (0.6, 0.99):
        with pytest.raises(ValueError, match=f"2 rows are too few to hold out a share of {fraction}"):
            load_segmentation_dataset(name, class_names=NAMES, validation_fraction=fraction)
    name = save_parquet(tmp_path / "one", train=rows([ids()]))
    with pytest.raises(ValueError, match="1 rows are too few"):
        load_segmentation_dataset(name, class_names=NAMES)


def test_what_is_no_data_set_is_named(tmp_path):
    (tmp_path / "set").mkdir()
    name = str(tmp_path / "set")
    with pytest.raises(FileNotFoundError, match=f"The data set '{name}' cannot be loaded"):
        load_segmentation_dataset(name, class_names=NAMES)
    (tmp_path / "set" / "train.json").write_text("{")
    with pytest.raises(ValueError, match=f"The data set '{name}' cannot be read"):
        load_segmentation_dataset(name, class_names=NAMES)
    shutil.rmtree(tmp_path / "set")
    save_parquet(tmp_path / "set", train=rows([ids()]))
    with pytest.raises(ValueError, match="'nope' not found.*options"):
        load_segmentation_dataset(name, class_names=NAMES, dataset_config="nope")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        (picture() if name == "images" else p_mode(ids())).save(tmp_path / name / "a.png")
    (tmp_path / "masks").chmod(0)
    try:
        with pytest.raises(PermissionError, match="The folder .*masks may not be read"):
            load_segmentation_dataset(f"{tmp_path}/images,{tmp_path}/masks", class_names=NAMES)
    finally:
        (tmp_path / "masks").chmod(0o700)


def refuse(folder):
    raise PermissionError(13, "Permission denied", str(folder))


def test_a_folder_that_the_system_refuses_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("rss_hf.data.local._image_files", refuse)
    with pytest.raises(PermissionError, match="The folder .*images may not be read.*permissions"):
        load_segmentation_dataset(f"{tmp_path}/images,{tmp_path}/masks", class_names=NAMES)
    monkeypatch.setattr(datasets, "load_dataset", lambda name, *_, **__: refuse(name))
    with pytest.raises(PermissionError, match="'.*set' may not be read.*permissions"):
        load_segmentation_dataset(f"{tmp_path}/set", class_names=NAMES)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_split_to_score_is_enough_to_evaluate(tmp_path, streaming):
    name = save_parquet(tmp_path / "set", test=rows([ids()] * 3))
    data = load_segmentation_dataset(name, class_names=NAMES, require_train=False, streaming=streaming)
    assert data.train is None and data.source.train_split is None and data.source.eval_split == "test"
    assert len(list(data.validation)) == 3
    with pytest.raises(ValueError, match="no split called train or training"):
        load_segmentation_dataset(name, class_names=NAMES, streaming=streaming)
    with pytest.raises(ValueError, match="no split 'train'"):
        load_segmentation_dataset(
            name, class_names=NAMES, require_train=False, train_split="train", streaming=streaming
        )


def test_names_of_classes_come_from_the_folder_without_masks_too(tmp_path):
    name = save_parquet(tmp_path / "set", train=rows(images=[picture()]), validation=rows(images=[picture(1)]))
    data = load_segmentation_dataset(name, class_names=NAMES)
    assert data.train.column_names == data.validation.column_names == ["image"]
    with pytest.raises(ValueError, match="Pass class_names, one name a class"):
        load_segmentation_dataset(name)
    (tmp_path / "set" / "id2label.json").write_text(json.dumps(dict(enumerate(NAMES))))
    assert load_segmentation_dataset(name).class_names == NAMES
