"""What the demo makes of uploaded files: each is seen as it is meant to be, or refused with a sentence."""

import re
import tracemalloc

import numpy as np
import pytest
from helpers.demo_files import hostile_files, is_seen, odd_files
from PIL import Image

from rss_hf.data import open_image
from rss_hf.demo.images import MAX_PIXELS, Refusal, open_photo, open_picture, whole


ODD, HOSTILE = odd_files(), hostile_files()


@pytest.mark.parametrize("name", ODD)
def test_odd_images_are_seen_as_they_are_meant(name, tmp_path):
    content, expected = ODD[name]
    (tmp_path / name).write_bytes(content)
    image = open_photo(str(tmp_path / name))
    assert image.mode == "RGB"
    assert is_seen(np.asarray(image), expected, name)
    assert np.array_equal(image, open_image(tmp_path / name)), "`rss-hf predict` sees another image"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_get_a_sentence_and_no_memory(name, tmp_path):
    content, sentence = HOSTILE[name]
    (tmp_path / name).write_bytes(content)
    tracemalloc.start()
    with pytest.raises(Refusal) as refusal:
        open_photo(str(tmp_path / name))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert re.search(sentence, str(refusal.value))
    assert str(refusal.value).startswith("The image ") and str(refusal.value).endswith(".")
    assert str(tmp_path) not in str(refusal.value)
    assert peak < 8 * 2**20


def test_the_largest_photo_is_accepted(tmp_path):
    Image.new("RGB", (4000, MAX_PIXELS // 4000)).save(tmp_path / "photo.png")
    assert open_photo(str(tmp_path / "photo.png")).size == (4000, 4000)
    Image.new("1", (4001, MAX_PIXELS // 4000)).save(tmp_path / "photo.png")
    with pytest.raises(Refusal, match="4001 x 4000 pixels, 16.0 million"):
        open_photo(str(tmp_path / "photo.png"))


def test_masks_keep_their_mode(tmp_path):
    mask = Image.fromarray(np.array([[0, 1], [2, 255]], np.uint8))
    mask.putpalette(range(256))
    mask.save(tmp_path / "mask.png")
    assert np.array_equal(open_picture(str(tmp_path / "mask.png"), "The mask"), [[0, 1], [2, 255]])
    (tmp_path / "mask.png").write_bytes(b"")
    with pytest.raises(Refusal, match="The mask is an empty file"):
        open_picture(str(tmp_path / "mask.png"), "The mask")


def test_numbers_of_requests_are_whole():
    assert [whole(8, "seed"), whole(8.0, "seed")] == [8, 8]
    for value in ("8", 8.5, None, [8], float("nan"), float("inf")):
        with pytest.raises(Refusal, match="The seed must be a whole number"):
            whole(value, "seed")
