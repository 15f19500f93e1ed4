"""Two folders of images and masks, paired by the stems of their files."""

import logging

import numpy as np
import pytest
from helpers.rows import ids, p_mode, picture

from rss_hf.data import check_labels, load_segmentation_dataset
from rss_hf.data.local import read_folder_pair


NAMES = ["background", "left", "right"]


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
        read_folder_pair("a,b,c")
