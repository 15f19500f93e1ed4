"""All rows are read before training: every fault is told, by row and file, and nothing is read twice."""

import json
import os
import shutil
import zlib

import datasets
import PIL.Image
import pytest
import torch
from helpers.rows import encoded, ids, p_mode, picture, rows
from torchvision import tv_tensors

from rss_hf.data import (
    IGNORE_INDEX,
    check_labels,
    check_rows,
    check_splits,
    checks,
    load_segmentation_dataset,
    train_transform,
    voc_palette,
)
from rss_hf.data.images import MAX_ELONGATION, MAX_PIXELS
from rss_hf.data.local import read_folder_pair


NAMES = ["background", "left", "right"]


def damaged(kind, image, path):
    whole = encoded(image, "JPEG" if "jpeg" in kind else "PNG", path=path)
    data = whole["bytes"]
    content = {
        "cut": data[: len(data) // 2],
        "cut jpeg": data[: len(data) // 2],
        "end missing": data[:-40],
        "empty": b"",
        "zeros": bytes(len(data)),
        "text": b"not an image",
        "only a header": data[:33],
        "flipped bits": data[:60] + bytes(255 - b for b in data[60:80]) + data[80:],
    }[kind]
    return whole | {"bytes": content}


KINDS = ["cut", "cut jpeg", "end missing", "empty", "zeros", "text", "only a header", "flipped bits"]


def two_folders(folder, count=3):
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (picture(i) if name == "images" else p_mode(ids())).save(folder / name / f"{i}.png")
    return f"{folder}/images,{folder}/masks"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("column", ["image", "mask"])
def test_damage_is_told_with_the_name_of_the_file(kind, column):
    size = (64, 48)
    content = picture(size=size) if column == "image" else p_mode(ids(size=size))
    if kind == "cut jpeg" and column == "mask":
        content = content.convert("L")
    bad = damaged(kind, content, f"the_{column}.png")
    images, masks = [picture(size=size)] * 2, [ids(size=size)] * 2
    (images if column == "image" else masks)[1] = bad
    with pytest.raises(ValueError) as error:
        check_labels(rows(masks, images), 3, "train")
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"row 1 of split 'train' (the_{column}.png): the {column} cannot be")


def test_all_faults_are_told_at_once_both_of_a_row_and_at_most_20():
    images = [picture(), damaged("cut", picture(), "a.jpg"), picture(), damaged("text", picture(), "b.jpg")]
    masks = [ids(), damaged("cut", p_mode(ids()), "a.png"), ids((0, 9)), ids()]
    with pytest.raises(ValueError) as error:
        check_splits({"train": rows(masks, images), "validation": rows([ids((7,))])}, 3)
    lines = str(error.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "split 'train'",
        "row 1 of split 'train' (a.jpg)",
        "row 2 of split 'train'",
        "row 3 of split 'train' (b.jpg)",
        "split 'validation'",
        "row 0 of split 'validation'",
    ]
    assert "And (a.png): the mask cannot be" in lines[1]
    assert "0 to 2" in lines[0] and "[9]" in lines[2] and "[7]" in lines[5]
    with pytest.raises(ValueError) as error:
        check_labels(rows([ids((5,))] * 24), 3, "train")
    lines = str(error.value).splitlines()
    assert len(lines) == 21 and "0 to 2" in lines[0] and lines[-1] == "and 5 more."


def test_rows_without_masks_are_read_too():
    images = [picture(), damaged("cut", picture(), "a.png")]
    with pytest.raises(ValueError, match="row 1 of split 'train' .a.png.: the image cannot be decoded"):
        check_labels(rows(images=images), 3, "train")
    contents = check_rows(rows(images=images[:1]), 3, "train")
    assert (contents.num_rows, dict(contents.sizes), contents.faults) == (1, {(8, 6): 1}, [])
    assert not contents.pixels


def test_what_there_is_is_counted():
    contents = check_rows(
        rows(
            [ids((0, 1)), ids((1, IGNORE_INDEX)), ids((1,), size=(7, 7))], [picture(), picture(), picture(size=(7, 7))]
        ),
        3,
        "train",
    )
    assert contents.sizes == {(8, 6): 2, (7, 7): 1}
    assert contents.pixels == {0: 24, 1: 24 + 24 + 49, IGNORE_INDEX: 24}


@pytest.mark.parametrize(
    ("masks", "reduce_labels", "told"),
    [
        ([ids((IGNORE_INDEX,))], False, "no pixel of any mask has a class, all are 255"),
        ([ids((IGNORE_INDEX,))] * 3, False, "no pixel of any mask has a class"),
        ([ids((0,)), ids((IGNORE_INDEX,))], True, "no pixel of any mask has a class, all are 0 or 255"),
        ([ids((0,))], True, "no pixel of any mask has a class, all are 0"),
        ([ids((0, IGNORE_INDEX))], False, "all masks hold only 0 and 255"),
        ([ids((0,)), ids((IGNORE_INDEX,))], False, "all masks hold only 0 and 255"),
        ([ids((0, 1, 4))], True, "mask ids [4]: with 3 classes and do_reduce_labels of the image processor the ids"),
        ([ids((0, 1, 3))], False, "mask ids [3]: with 3 classes the ids are 0 to 2"),
    ],
)  # fmt: skip
def test_masks_that_teach_nothing_are_refused(masks, reduce_labels, told):
    with pytest.raises(ValueError) as error:
        check_labels(rows(masks), 3, "train", reduce_labels=reduce_labels)
    assert str(error.value).startswith(f"split 'train': {told}")


@pytest.mark.parametrize(
    ("masks", "reduce_labels"),
    [([ids((0,))], False), ([ids((IGNORE_INDEX,)), ids((2,))], False), ([ids((0, 1, 2, 3))], True),
     ([ids((1, IGNORE_INDEX))], False)],
)  # fmt: skip
def test_masks_that_teach_something_pass(masks, reduce_labels):
    check_labels(rows(masks), 3, "train", reduce_labels=reduce_labels)


def blank_png(width, height):
    """A PNG of that many pixels in few bytes: the header says so, and none is decoded."""
    content = bytearray(encoded(PIL.Image.new("1", (8, 8)))["bytes"])
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return {"bytes": bytes(content), "path": "huge.png"}


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ((30000, 30000), "Up to 80 million pixels"),
        ((20000, 10000), "Up to 80 million pixels"),
        ((10000, 8100), "10000x8100 pixels, 81 million"),
        ((20000, 10), "20000x10 pixels, and one side may be up to 50 times"),
        ((10, 20000), "10x20000 pixels, and one side may be up to 50 times"),
        ((1, 64), "1x64 pixels"),
    ],
)
def test_sizes_that_no_trainer_lives_with_are_named(size, told):
    assert (MAX_PIXELS, MAX_ELONGATION) == (80_000_000, 50)
    with pytest.raises(ValueError) as error:
        check_labels(rows(images=[picture(), blank_png(*size)]), 3, "train")
    assert str(error.value).startswith("row 1 of split 'train' (huge.png): the image cannot be ")
    assert told in str(error.value)


@pytest.mark.parametrize("scale_range", [(0.5, 2), (0.1, 0.5), (0.001, 0.002)])
def test_long_images_train(scale_range):

    transform = train_transform((16, 16), [0] * 3, [1] * 3, scale_range=scale_range)
    for size in ((400, 8), (8, 400), (1, 50)):
        pixels, labels = transform(
            tv_tensors.Image(torch.zeros(3, *size, dtype=torch.uint8)),
            tv_tensors.Mask(torch.zeros(size, dtype=torch.uint8)),
        )
        assert pixels.shape == (3, 16, 16) and labels.shape == (16, 16)


@pytest.fixture
def count_reads(monkeypatch):
    reads = []
    open_row = checks.open_row
    monkeypatch.setattr(checks, "open_row", lambda *arguments: reads.append(1) or open_row(*arguments))
    return reads


def test_rows_in_memory_are_read_once(tmp_path, count_reads):
    name = two_folders(tmp_path)
    for _ in range(2):
        check_labels(read_folder_pair(name)["train"], 3, "train")
        assert len(count_reads) == 3
    check_labels(read_folder_pair(name)["train"], 4, "another name")
    assert len(count_reads) == 3
    check_labels(read_folder_pair(name)["train"], 3, "train", voc_palette(3))
    assert len(count_reads) == 6


@pytest.mark.parametrize("keep", ["nothing", "time", "time and size"])
@pytest.mark.parametrize("where", ["two folders", "one folder"])
def test_a_file_changed_in_place_is_read_again(tmp_path, keep, where):
    name = two_folders(tmp_path / "set" / "test")
    pairs = [{"file_name": f"images/{i}.png", "mask_file_name": f"masks/{i}.png"} for i in range(3)]
    (tmp_path / "set" / "test" / "metadata.jsonl").write_text("\n".join(map(json.dumps, pairs)))

    def load():
        if where == "two folders":
            return read_folder_pair(name)["train"]
        return load_segmentation_dataset(str(tmp_path / "set"), class_names=NAMES, require_train=False).validation

    check_labels(load(), 3, "train")
    path = tmp_path / "set" / "test" / "masks" / "1.png"
    before = path.stat()
    content = bytearray(path.read_bytes())
    if keep == "time and size":
        content[-30:-20] = bytes(10)
        path.write_bytes(content)
        assert path.stat().st_size == before.st_size
    else:
        p_mode(ids((0, 77))).save(path)
    if keep != "nothing":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(ValueError, match=r"row 1 of split 'train' \(.*1.png\)"):
        check_labels(load(), 3, "train")
    shutil.copyfile(tmp_path / "set" / "test" / "masks" / "0.png", path)
    check_labels(load(), 3, "train")


def test_several_processes_find_the_same(monkeypatch):
    monkeypatch.setattr(checks, "ROWS_A_PROCESS", 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    masks = [ids((0, i % 3)) for i in range(9)]
    masks[7] = damaged("cut", p_mode(ids()), "seven.png")
    parallel = check_rows(rows(masks), 3, "train")
    monkeypatch.setattr(checks, "ROWS_A_PROCESS", 100)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(datasets.config.HF_DATASETS_CACHE) + "-other")
    assert check_rows(rows(masks), 3, "train") == parallel
    assert len(parallel.faults) == 1 and "row 7" in parallel.faults[0] and "seven.png" in parallel.faults[0]


def test_images_in_both_splits_are_warned_of(tmp_path, caplog):
    train = rows([ids()] * 3)
    mixed = rows([ids()] * 3, [picture(9), picture(1), picture(2)])
    check_splits({"train": train, "validation": mixed}, 3)
    assert "2 of the 3 images of split 'validation' are images of split 'train' too, first row 1" in caplog.text
    caplog.clear()
    check_splits({"train": train, "validation": rows([ids()] * 2, [picture(8), picture(9)])}, 3)
    check_splits({"train": train, "validation": mixed.to_iterable_dataset()}, 3)
    assert not caplog.text
    one = read_folder_pair(two_folders(tmp_path / "one"))["train"]
    other = read_folder_pair(two_folders(tmp_path / "other"))["train"]
    check_splits({"train": one, "validation": other}, 3)
    assert "3 of the 3 images" in caplog.text
