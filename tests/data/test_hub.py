"""Data sets from folders, from the Hub and drawn, in one form."""

import json
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
from helpers.rows import ids, p_mode, picture, rows, save_parquet

from rss_hf.data import VOC_CLASS_NAMES, DataSource, check_labels, load_segmentation_dataset, voc_palette
from rss_hf.data.shapes import SHAPE_NAMES


NAMES = ["background", "left", "right"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def test_parquet_folder_with_aliases_keeps_other_columns(tmp_path):
    train = rows([ids()] * 3, image_column="img", mask_column="annotation", id=["a", "b", "c"])
    name = save_parquet(tmp_path / "set", training=train, val=train.select([0]))
    (tmp_path / "set" / "id2label.json").write_text(json.dumps({"2": "right", "0": "background", "1": "left"}))
    data = load_segmentation_dataset(name)
    assert data.class_names == NAMES
    assert data.palette == voc_palette(3)
    assert data.source == DataSource("set", False, None, None, "training", "val")
    assert (len(data.train), len(data.validation)) == (3, 1)
    assert sorted(data.train.column_names) == ["id", "image", "mask"]
    assert data.train["id"][:] == ["a", "b", "c"]
    np.testing.assert_array_equal(np.array(data.train[1]["mask"]), ids())


def test_sizes_splits_and_columns_can_be_chosen(tmp_path):
    one = rows([ids()] * 5, mask_column="second", id=list("abcde"))
    name = save_parquet(tmp_path / "set", train=one, test=one, extra=one)
    data = load_segmentation_dataset(
        name,
        class_names=NAMES,
        mask_column="second",
        train_split="extra",
        max_train_samples=2,
        max_eval_samples=9,
    )
    assert len(set(data.train["id"])) == 2 and set(data.train["id"]) < set("abcde")
    assert data.validation["id"][:] == list("abcde")


def test_the_rows_kept_are_a_choice_of_all_that_is_made_once_and_for_all(tmp_path):
    many = rows([ids()] * 40, id=[str(i) for i in range(40)])
    name = save_parquet(tmp_path / "set", train=many, validation=many)
    sizes = {"class_names": NAMES, "max_train_samples": 20, "max_eval_samples": 10}
    first, second = (load_segmentation_dataset(name, **sizes) for _ in range(2))
    assert first.train["id"][:] == second.train["id"][:]
    assert len(set(first.train["id"])) == 20 and len(set(first.validation["id"])) == 10
    assert max(int(i) for i in first.train["id"]) >= 20 and max(int(i) for i in first.validation["id"]) >= 10
    assert load_segmentation_dataset(name, **sizes, seed=1).train["id"][:] != first.train["id"][:]


def test_rows_are_held_out_once_and_for_all(tmp_path):
    name = save_parquet(tmp_path / "set", train=rows([ids()] * 20, id=[str(i) for i in range(20)]))
    first, second = (load_segmentation_dataset(name, class_names=NAMES, validation_fraction=0.2) for _ in range(2))
    assert first.validation["id"][:] == second.validation["id"][:]
    assert len(first.validation) == 4
    assert sorted([*first.train["id"], *first.validation["id"]], key=int) == [str(i) for i in range(20)]
    other = load_segmentation_dataset(name, class_names=NAMES, validation_fraction=0.2, seed=1)
    assert other.validation["id"][:] != first.validation["id"][:]
    with pytest.raises(ValueError, match=r"above 0 and below 1, got 1\.5"):
        load_segmentation_dataset(name, class_names=NAMES, validation_fraction=1.5)


def test_streaming_reads_the_same_rows(tmp_path):
    train = rows([ids()] * 6, mask_column="label", id=list("abcdef"))
    name = save_parquet(tmp_path / "set", train=train, validation=train)
    data = load_segmentation_dataset(name, class_names=NAMES, streaming=True, max_train_samples=4)
    assert isinstance(data.train, datasets.IterableDataset)
    assert sorted(row["id"] for row in data.train) == list("abcd")
    assert [row["id"] for row in data.validation] == list("abcdef")
    np.testing.assert_array_equal(np.array(next(iter(data.train))["mask"]), ids())
    check_labels(data.train, 3, "train")
    with pytest.raises(ValueError, match="has no split 'dev'"):
        load_segmentation_dataset(name, class_names=NAMES, streaming=True, eval_split="dev")
    name = save_parquet(tmp_path / "only_train", train=train)
    with pytest.raises(ValueError, match="held out of a stream"):
        load_segmentation_dataset(name, class_names=NAMES, streaming=True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"train_split": "dev"}, ["no split 'dev'", "['train', 'validation']", "train_split"]),
        ({"eval_split": "dev"}, ["no split 'dev'", "eval_split"]),
        ({"image_column": "photo"}, ["no column 'photo'", "images are in ['image', 'mask']", "image_column"]),
        ({"mask_column": "gt"}, ["no column 'gt'", "mask_column"]),
        ({"mask_column": "id"}, ["'id'", "not images", "mask_column"]),
        ({"mask_column": "image"}, ["'image'", "another column"]),
        ({"class_names": None}, ["class names", "id2label.json"]),
        ({"class_names": ["a", "a"]}, ["2 to 255 different names", "['a', 'a']"]),
        ({"class_names": [str(i) for i in range(256)]}, ["2 to 255 different names", "got 256"]),
        ({"palette": ["red", "blue"]}, ["palette has 2 colours for 3 classes"]),
    ],
)
def test_wrong_options_are_named(tmp_path, options, told):
    one = rows([ids()] * 2, id=["a", "b"])
    name = save_parquet(tmp_path / "set", train=one, validation=one)
    with pytest.raises(ValueError) as error:
        load_segmentation_dataset(name, **{"class_names": NAMES, **options})
    for words in told:
        assert words in str(error.value)


def test_id2label_with_a_gap_is_refused(tmp_path):
    name = save_parquet(tmp_path / "set", train=rows([ids()]))
    (tmp_path / "set" / "id2label.json").write_text('{"0": "background", "2": "right"}')
    with pytest.raises(ValueError, match=r"without a gap, got \[0, 2\]"):
        load_segmentation_dataset(name)


def test_missing_data_set_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.*'shapes-hard'"):
        load_segmentation_dataset(str(tmp_path / "nowhere"), class_names=NAMES)


def test_voc_ids_and_shapes_have_names(tmp_path, monkeypatch):
    one = datasets.DatasetDict(train=rows([ids()]), val=rows([ids()]))
    asked = {}

    def load_dataset(path, name=None, **options):
        asked.update(path=path, name=name, **options)
        return one

    def dataset_info(api, name, revision, timeout):
        return SimpleNamespace(sha=f"commit of {revision}")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("rss_hf.data.hub.HfApi.dataset_info", dataset_info)
    data = load_segmentation_dataset("nateraw/pascal-voc-2012", dataset_config="seg", revision="v1")
    assert data.class_names == VOC_CLASS_NAMES and len(VOC_CLASS_NAMES) == 21
    assert asked == {"path": "nateraw/pascal-voc-2012", "name": "seg", "revision": "v1", "streaming": False}
    assert data.source == DataSource("nateraw/pascal-voc-2012", True, "seg", "commit of v1", "train", "val")

    def no_answer(api, name, revision, timeout):
        raise ConnectionError("no network")

    monkeypatch.setattr("rss_hf.data.hub.HfApi.dataset_info", no_answer)  # the rows may be in the cache
    data = load_segmentation_dataset("nateraw/pascal-voc-2012", revision="v1")
    assert data.source == DataSource("nateraw/pascal-voc-2012", True, None, "v1", "train", "val")

    monkeypatch.setattr("rss_hf.data.hub.load_shapes", lambda size, num_classes: {"train": one["train"]} | one)
    data = load_segmentation_dataset("shapes", streaming=True)
    assert data.class_names == SHAPE_NAMES[:5]
    assert next(iter(data.validation))["mask"].mode == "P"


def test_colour_masks_need_a_palette_but_for_voc(tmp_path, monkeypatch):
    coloured = rows([p_mode(ids()).convert("RGB")] * 2)
    name = save_parquet(tmp_path / "set", train=coloured, validation=coloured)
    data = load_segmentation_dataset(name, class_names=NAMES)
    assert data.mask_palette is None and data.palette == voc_palette(3)
    with pytest.raises(ValueError, match="row 0 of split 'train': the mask is RGB, and no palette .* Pass palette"):
        check_labels(data.train, 3, "train", data.mask_palette)

    colors = ["rgb(0, 0, 0)", "#800000", (0, 128, 0)]
    data = load_segmentation_dataset(name, class_names=NAMES, palette=colors)
    assert data.mask_palette == data.palette == voc_palette(3)
    check_labels(data.train, 3, "train", data.mask_palette)
    other = load_segmentation_dataset(name, class_names=NAMES, palette=["red", "lime", "blue"])
    assert other.mask_palette == other.palette == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    with pytest.raises(ValueError, match="not in the palette of 3 classes"):
        check_labels(other.train, 3, "train", other.mask_palette)

    splits = datasets.DatasetDict(train=coloured, val=coloured)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: splits)
    monkeypatch.setattr("rss_hf.data.hub.HfApi.dataset_info", lambda *_, **__: SimpleNamespace(sha="commit"))
    voc = load_segmentation_dataset("nateraw/pascal-voc-2012")
    assert voc.mask_palette == voc.palette == voc_palette(21)
    check_labels(voc.train, 21, "train", voc.mask_palette)


def test_one_split_may_have_masks_and_another_none(monkeypatch):
    masked, tagged = rows([ids()], label=["cat"]), rows(images=[picture()], label=["dog"])
    for train, validation in ((tagged, masked), (masked, tagged)):
        for kind in (lambda stored: stored, lambda stored: stored.to_iterable_dataset()):
            splits = {"train": kind(train), "val": kind(validation)}
            monkeypatch.setattr(datasets, "load_dataset", lambda *_, splits=splits, **__: splits)
            data = load_segmentation_dataset("org/set", class_names=NAMES)
            for got, stored in ((data.train, train), (data.validation, validation)):
                assert set(got.column_names) == set(stored.column_names)
