"""What is kept of judged maps, and where in the image their cells were."""

import pytest
import torch

from rss_hf.advantages.score_posterior import judged_maps
from rss_hf.advantages.score_posterior.judged_maps import OUTSIDE, JudgedMaps, merge_view, sites_in_view


def test_the_last_views_of_each_image_are_kept():
    memory = JudgedMaps.empty(
        num_images=3, memory_size=2, num_samples=1, classes=2, grid=(1, 2), device=torch.device("cpu")
    )
    for view in range(3):
        scores = torch.tensor([[float(view)], [10.0 + view]])
        actions, site_index = torch.full((2, 1, 2), view % 2), torch.tensor([[0, 1], [1, OUTSIDE]])
        probs = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).expand(2, 2, 2)
        class_values = torch.full((2, 2), view + 0.5)
        memory.update_prior(torch.tensor([2, 0]), site_index, probs)
        memory.store_scores(torch.tensor([2, 0]), actions, site_index, class_values, scores)
    kept = memory.load_views(torch.tensor([0, 1, 2]))
    assert kept["scores"].nan_to_num(-1).flatten(1).tolist() == [[12, 11], [-1, -1], [2, 1]]
    assert kept["class_values"][:, :, 1].tolist() == [[2.5, 1.5], [1, 1], [2.5, 1.5]]
    assert kept["actions"].flatten(1).tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1]]
    assert kept["site_index"][0].tolist() == [[1, OUTSIDE]] * 2
    torch.testing.assert_close(kept["prior_probs"][:, 0, 0], torch.tensor([[0.5, 0.9], [0.5, 0.5], [0.9, 0.1]]))
    assert memory.load_views(torch.tensor([2]), max_views=1)["scores"].tolist() == [[[2]]]


def test_a_view_replaces_the_prior_where_it_shows_the_image():
    """Two cells that show one site are averaged, a site out of view is kept."""
    prior_probs, probs = torch.full((1, 2, 2, 2), 0.5), torch.tensor([[[0.9, 0.7, 0.2], [0.1, 0.3, 0.8]]])
    got = merge_view(prior_probs, probs, torch.tensor([[3, 3, OUTSIDE]]))
    torch.testing.assert_close(got[0].flatten(1), torch.tensor([[0.5, 0.5, 0.5, 0.8], [0.5, 0.5, 0.5, 0.2]]))


@pytest.mark.parametrize("flipped", [False, True])
def test_cells_are_found_at_their_centres(flipped):
    """An image of 16x16 pixels, positions in 256ths, seen whole or mirrored, with two columns of padding."""
    side = torch.arange(16) * 16
    positions = side[:, None] * 256 + (side.flip(0) if flipped else side)
    positions[:, 14:] = OUTSIDE
    row = [0, 1, 2, OUTSIDE] if not flipped else [3, 2, 1, OUTSIDE]
    expected = [[OUTSIDE if site < 0 else 4 * i + site for site in row] for i in range(4)]
    assert sites_in_view(positions[None], (4, 4)).view(4, 4).tolist() == expected


@pytest.mark.parametrize(
    "memory_size, classes, message",
    [
        (
            10**8,
            5,
            r"memory_size=100000000 keeps \d+\.\d GiB of judged maps of 100 images, and .* GiB are free on cpu",
        ),
        (10**30, 5, "is the most that fits"),
        (24, 257, "bytes, for 256 classes at most, and the model has 257"),
    ],
)
def test_a_memory_that_cannot_be_is_refused(memory_size, classes, message):
    with pytest.raises(ValueError, match=message):
        JudgedMaps.empty(100, memory_size, 4, classes, (32, 32), torch.device("cpu"))


def test_the_most_that_fits_is_said(monkeypatch):
    monkeypatch.setattr(judged_maps, "free_bytes", lambda device: 10 * 14 * 6 * 20 + 1)
    JudgedMaps.empty(10, 7, 16, 3, (2, 3), torch.device("cpu"))
    with pytest.raises(ValueError, match="memory_size=14 is the most"):
        JudgedMaps.empty(10, 15, 16, 3, (2, 3), torch.device("cpu"))


def empty(classes=2, memory_size=3, num_images=2, num_samples=1, grid=(1, 2)):
    return JudgedMaps.empty(num_images, memory_size, num_samples, classes, grid, torch.device("cpu"))


def test_at_first_nothing_is_known():
    state = empty(classes=256).state
    assert state["prior_probs"].unique().tolist() == [1 / 256] and (state["site_index"] == OUTSIDE).all()
    assert state["scores"].isnan().all() and (state["class_values"] == 1).all()
    assert not any(state[name].any() for name in ("actions", "num_views", "counts"))


def test_a_memory_that_just_fits_is_made(monkeypatch):
    monkeypatch.setattr(judged_maps, "free_bytes", lambda device: 10 * 7 * 6 * 20)
    assert empty(3, 7, 10, 16, (2, 3)).state["scores"].shape == (10, 7, 16)


def test_early_views_are_among_the_first():
    memory = empty()
    for view in range(2):
        score = torch.tensor([[view + 1.0]])
        memory.store_scores(torch.tensor([1]), torch.zeros(1, 1, 2), torch.zeros(1, 2), torch.ones(1, 2), score)
    assert memory.load_views(torch.tensor([1]), max_views=2)["scores"].tolist() == [[[1], [2]]]


def test_the_first_pixel_is_a_site():
    """A grid as fine as the image: the centre of each cell is its pixel."""
    side = torch.arange(4) * 64
    positions = (side[:, None] * 256 + side)[None]
    assert torch.equal(sites_in_view(positions, (4, 4)), torch.arange(16)[None])
