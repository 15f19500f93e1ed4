import json
import logging
from io import BytesIO

import datasets
import numpy as np
import PIL.Image
import pytest

from rss_hf.data.hub import (
    VOC_CLASS_NAMES,
    VOID,
    check_labels,
    load_segmentation_dataset,
    mask_to_indices,
    open_pair,
    undecoded,
    voc_palette,
)
from rss_hf.data.shapes import SHAPE_NAMES


NAMES = ["background", "left", "right"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def picture(seed=0, size=(8, 6)):
    width, height = size
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def ids(values=(0, 1, 2, VOID), size=(8, 6)):
    width, height = size
    return np.resize(np.array(values, np.uint8), (height, width))


def p_mode(indices):
    mask = PIL.Image.fromarray(indices)
    mask.putpalette(np.array(voc_palette(), np.uint8).tobytes())
    return mask


def rows(masks, images=None, image_column="image", mask_column="mask", **others):
    images = images or [picture(i) for i in range(len(masks))]
    masks = [p_mode(mask) if isinstance(mask, np.ndarray) else mask for mask in masks]
    features = {image_column: datasets.Image(), mask_column: datasets.Image()}
    features |= {name: datasets.Value("string") for name in others}
    columns = {image_column: images, mask_column: masks, **others}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def save(folder, **splits):
    (folder / "data").mkdir(parents=True)
    for split, dataset in splits.items():
        dataset.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return str(folder)


def test_voc_palette_is_the_published_one():
    palette = voc_palette()
    assert len(palette) == len(set(palette)) == 256
    assert palette[:5] == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    assert palette[8] == (64, 0, 0)
    assert palette[15] == (192, 128, 128)
    assert palette[20] == (0, 64, 128)
    assert palette[VOID] == (224, 224, 192)
    assert len(VOC_CLASS_NAMES) == 21


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


def test_parquet_folder_with_aliases_keeps_other_columns(tmp_path):
    train = rows([ids()] * 3, image_column="img", mask_column="annotation", id=["a", "b", "c"])
    name = save(tmp_path / "set", training=train, val=train.select([0]))
    (tmp_path / "set" / "id2label.json").write_text(json.dumps({"2": "right", "0": "background", "1": "left"}))
    data = load_segmentation_dataset(name)
    assert data.class_names == NAMES
    assert data.palette == voc_palette(3)
    assert (len(data.train), len(data.validation)) == (3, 1)
    assert sorted(data.train.column_names) == ["id", "image", "mask"]
    assert data.train["id"][:] == ["a", "b", "c"]
    np.testing.assert_array_equal(np.array(data.train[1]["mask"]), ids())


def test_sizes_splits_and_columns_can_be_chosen(tmp_path):
    one = rows([ids()] * 5, mask_column="second", id=list("abcde"))
    name = save(tmp_path / "set", train=one, test=one, extra=one)
    data = load_segmentation_dataset(
        name,
        class_names=NAMES,
        mask_column="second",
        train_split="extra",
        max_train_samples=2,
        max_eval_samples=9,
    )
    assert data.train["id"][:] == ["a", "b"]
    assert len(data.validation) == 5


def test_rows_are_held_out_once_and_for_all(tmp_path):
    name = save(tmp_path / "set", train=rows([ids()] * 20, id=[str(i) for i in range(20)]))
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
    name = save(tmp_path / "set", train=train, validation=train)
    data = load_segmentation_dataset(name, class_names=NAMES, streaming=True, max_train_samples=4)
    assert isinstance(data.train, datasets.IterableDataset)
    assert sorted(row["id"] for row in data.train) == list("abcd")
    assert [row["id"] for row in data.validation] == list("abcdef")
    np.testing.assert_array_equal(np.array(next(iter(data.train))["mask"]), ids())
    check_labels(data.train, 3, "train")
    with pytest.raises(ValueError, match="has no split 'dev'"):
        load_segmentation_dataset(name, class_names=NAMES, streaming=True, eval_split="dev")
    name = save(tmp_path / "only_train", train=train)
    with pytest.raises(ValueError, match="held out of a stream"):
        load_segmentation_dataset(name, class_names=NAMES, streaming=True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"train_split": "dev"}, ["no split 'dev'", "['train', 'validation']", "train_split"]),
        ({"eval_split": "dev"}, ["no split 'dev'", "eval_split"]),
        ({"image_column": "photo"}, ["no column 'photo'", "['id', 'image', 'mask']", "image_column"]),
        ({"mask_column": "gt"}, ["no column 'gt'", "mask_column"]),
        ({"mask_column": "id"}, ["'id'", "not images", "mask_column"]),
        ({"mask_column": "image"}, ["'image'", "another column"]),
        ({"class_names": None}, ["class names", "id2label.json"]),
        ({"class_names": ["a", "a"]}, ["2 to 255 different names", "['a', 'a']"]),
    ],
)
def test_wrong_options_are_named(tmp_path, options, told):
    one = rows([ids()] * 2, id=["a", "b"])
    name = save(tmp_path / "set", train=one, validation=one)
    with pytest.raises(ValueError) as error:
        load_segmentation_dataset(name, **{"class_names": NAMES, **options})
    for words in told:
        assert words in str(error.value)


def test_id2label_with_a_gap_is_refused(tmp_path):
    name = save(tmp_path / "set", train=rows([ids()]))
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

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = load_segmentation_dataset("nateraw/pascal-voc-2012", dataset_config="seg", revision="v1")
    assert data.class_names == VOC_CLASS_NAMES
    assert asked == {"path": "nateraw/pascal-voc-2012", "name": "seg", "revision": "v1", "streaming": False}

    monkeypatch.setattr("rss_hf.data.shapes.load_shapes", lambda size, num_classes: {"train": one["train"]} | one)
    data = load_segmentation_dataset("shapes", streaming=True)
    assert data.class_names == SHAPE_NAMES[:5]
    assert next(iter(data.validation))["mask"].mode == "P"


def pair_of_folders(tmp_path, names, splits=("",)):
    for split in splits:
        for folder, make, suffix in (("images", picture, "jpg"), ("masks", lambda: p_mode(ids()), "png")):
            (tmp_path / folder / split).mkdir(parents=True, exist_ok=True)
            for name in names:
                make().save(tmp_path / folder / split / f"{name}.{suffix}")
    (tmp_path / "images" / "Thumbs.db").write_text("")
    return f"{tmp_path / 'images'}, {tmp_path / 'masks'}"


def test_pair_of_folders(tmp_path):
    data = load_segmentation_dataset(pair_of_folders(tmp_path / "flat", "abcd"), class_names=NAMES)
    assert sorted([*data.train["id"], *data.validation["id"]]) == list("abcd")
    assert len(data.validation) == 1
    np.testing.assert_array_equal(np.array(data.train[0]["mask"]), ids())
    check_labels(data.train, 3, "train")

    name = pair_of_folders(tmp_path / "split", "ab", ("training", "val"))
    data = load_segmentation_dataset(name, class_names=NAMES)
    assert data.train["id"][:] == data.validation["id"][:] == ["a", "b"]


def test_pair_of_folders_names_what_is_missing(tmp_path, caplog):
    name = pair_of_folders(tmp_path, "abc")
    (tmp_path / "masks" / "b.png").rename(tmp_path / "masks" / "z.png")
    with pytest.raises(FileNotFoundError, match=r"1 of the 3 images.*b\.jpg.*equal stems"):
        load_segmentation_dataset(name, class_names=NAMES)
    (tmp_path / "images" / "b.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        load_segmentation_dataset(name, class_names=NAMES)
    assert "1 masks" in caplog.text
    with pytest.raises(FileNotFoundError, match=r"No folder .*mask; .*'images', 'masks'"):
        load_segmentation_dataset(f"{tmp_path}/images,{tmp_path}/mask", class_names=NAMES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty holds no image files"):
        load_segmentation_dataset(f"{tmp_path}/empty,{tmp_path}/masks", class_names=NAMES)
    picture().save(tmp_path / "images" / "a.png")
    with pytest.raises(ValueError, match="same stem"):
        load_segmentation_dataset(name, class_names=NAMES)
    with pytest.raises(ValueError, match="names 3 folders"):
        load_segmentation_dataset("a,b,c", class_names=NAMES)


def test_check_labels_accepts_good_masks_and_caches(tmp_path, monkeypatch):
    name = save(tmp_path / "set", train=rows([ids(), PIL.Image.fromarray(ids()), p_mode(ids()).convert("RGB")]))
    data = load_segmentation_dataset(name, class_names=NAMES, eval_split="train")
    check_labels(data.train, 3, "train")
    monkeypatch.setattr(PIL.Image, "open", lambda *_: pytest.fail("the second check read the masks again"))
    check_labels(data.train, 3, "train")
    with pytest.raises(ValueError, match=r"first in row 0.* 1 mask ids .*\[2\]"):
        check_labels(data.train, 2, "train")


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
