"""Histograms of references under the cells of a grid."""

import torch
from helpers.scenes import C, scene

from rss_hf.rewards import reference_histogram


def test_the_histogram_counts_every_valid_pixel_once():
    _, references = scene()
    histogram = reference_histogram(references, (5, 3), C)
    assert torch.equal(histogram.sum((1, 2, 3)), (references != 255).sum((1, 2)).float())
    for c in range(C):
        assert torch.equal(histogram.sum((2, 3))[:, c], (references == c).sum((1, 2)).float())
