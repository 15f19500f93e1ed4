"""Checks before a command spends time."""

from collections import Counter

import pytest

from rss_hf.cli.checks import small_images
from rss_hf.data.checks import SplitContents


@pytest.mark.parametrize(
    "sizes, image_size, warned",
    [
        ([(96, 80)], [512, 512], True),
        ([(96, 80)], [160, 192], True),
        ([(96, 80)], [159, 192], False),
        ([(96, 80), (500, 375)], [512, 512], False),
        ([], [512, 512], False),
    ],
)
def test_small_images_are_told(sizes, image_size, warned):
    contents = [SplitContents("train", len(sizes), Counter(sizes), Counter(), 0, [], [])]
    message = small_images(contents, image_size)
    assert (message is not None) == warned
    assert message is None or "--image_size 80 96" in message
