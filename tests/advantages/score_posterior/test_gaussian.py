"""The critic against the Gaussian's formula written out, and the memory that it reads."""

import pytest
import torch

from rss_hf.advantages.score_posterior.gaussian import NOISE, VOID_SITE, expected_iou_gain, gaussian_critic
from rss_hf.advantages.score_posterior.judged_maps import MapMemory, find_places, see


def scene(batch_size=2, classes=3, visits=2, samples=4, grid=(2, 3), seed=0):
    """Beliefs, maps of all sites in their own places, and the scores of true labels, float64."""
    generator = torch.Generator().manual_seed(seed)
    beliefs = torch.randn(batch_size, classes, *grid, generator=generator, dtype=torch.float64).softmax(1)
    sites = grid[0] * grid[1]
    actions = torch.randint(classes, (batch_size, visits, samples, sites), generator=generator)
    labels = torch.randint(classes, (batch_size, sites), generator=generator)
    places = torch.arange(sites).expand(batch_size, visits, sites)
    scores = (actions == labels[:, None, None]).double().mean(-1)
    worths = torch.ones(batch_size, visits, classes, dtype=torch.float64)
    return beliefs, actions, places, worths, scores, labels


def written_out(factors, reach, shared):
    """The covariance of (site, class) on a grid of 2 x 3, L_q K(q, q') L_q'^T."""
    covariance, share = torch.zeros(18, 18, dtype=torch.float64), 1 - 2**-reach
    for p in range(6):
        for q in range(6):
            distance = (p // 3 - q // 3) ** 2 + (p % 3 - q % 3) ** 2
            near = (1 - share) * (p == q) + share * torch.tensor(-distance / (2 * reach**2)).double().exp()
            near = shared + (1 - shared) * near
            covariance[3 * p : 3 * p + 3, 3 * q : 3 * q + 3] = near * factors[p] @ factors[q].T
    return covariance


@pytest.mark.parametrize(
    "reach, valued, shared, credit_reach",
    [(1, False, 0, None), (2.5, False, 0, 1.5), (2.5, True, 0, None), (2.5, False, 0.4, None), (2.5, True, 0.4, 1)],
)
def test_it_is_the_posterior_of_the_gaussian_written_out(reach, valued, shared, credit_reach):
    """Site by site and map by map; an offset of a visit has a variance of 1e6 instead of an infinite one."""
    beliefs, actions, places, worths, scores, labels = scene()
    places = places.clone()
    places[:, 1] = torch.tensor([1, 0, 2, 2, VOID_SITE, 5])  # another view: turned, zoomed in on site 2, padded
    if valued:  # classes of unlike worth, and the second visit's in another unit
        worths = torch.tensor([[1.0, 4.0, 0.5], [30.0, 20.0, 10.0]]).double().expand(2, 2, 3)
        right = (actions == labels[:, None, None]) * worths[:, :, None].expand(2, 2, 4, 3).gather(3, actions)
        scores = (right * (places >= 0)[:, :, None]).sum(3) / (places >= 0).sum(2)[:, :, None]
    gain, taught = gaussian_critic(beliefs, actions, places, worths, scores, reach, shared, credit_reach)
    for image in range(2):
        prior = beliefs[image].flatten(1)  # (3, 6)
        root = prior.sqrt()
        factors = [torch.diag(root[:, q]) @ (torch.eye(3) - torch.outer(root[:, q], root[:, q])) for q in range(6)]
        covariance = written_out(factors, reach, shared)
        maps = torch.zeros(8, 18, dtype=torch.float64)
        for k in range(8):
            for cell in range(6):
                if (place := places[image, k // 4, cell]) >= 0:
                    action = actions[image, k // 4, k % 4, cell]
                    maps[k, 3 * place + action] += worths[image, k // 4, action] / (6 - k // 4)  # in view
        scale = torch.einsum("vc,cq->v", worths[image].square(), prior).div(6).sqrt().repeat_interleave(4)
        maps = maps / scale[:, None]
        centring = torch.block_diag(*[torch.eye(4).double() - 1 / 4] * 2)
        unit = (centring @ maps @ covariance @ maps.T @ centring).diagonal().mean()
        visits = torch.block_diag(*[torch.ones(4, 4).double()] * 2)
        total = maps @ covariance @ maps.T + unit * (NOISE * torch.eye(8) + 1e6 * visits)
        surprise = scores[image].flatten() / scale - maps @ prior.T.flatten()
        told = maps.T @ torch.linalg.solve(total, surprise)
        spread = covariance if credit_reach is None else written_out(factors, credit_reach, 0)
        for got, expected in ((gain, covariance @ told), (taught, spread @ told)):
            torch.testing.assert_close(got[image].flatten(1).T.flatten(), expected, rtol=1e-4, atol=1e-6)


def test_enough_maps_give_the_labels_away():
    """40 numbers for 6 sites of 3 classes; every map seen before is worth as much as a new one."""
    beliefs, actions, places, worths, scores, labels = scene(visits=10)
    gain, _ = gaussian_critic(beliefs, actions, places, worths, scores)
    assert ((beliefs + gain).flatten(2).argmax(1) == labels).all()
    assert not (beliefs.flatten(2).argmax(1) == labels).all()
    few, _ = gaussian_critic(beliefs, actions[:, :1], places[:, :1], worths[:, :1], scores[:, :1])
    wrong = torch.nn.functional.one_hot(labels, 3).transpose(1, 2).view(beliefs.shape) - beliefs
    assert (wrong - gain).square().sum() < (wrong - few).square().sum() < wrong.square().sum()


def test_what_was_expected_but_for_an_offset_teaches_nothing():
    beliefs, actions, places, worths, _, _ = scene()
    expected = beliefs.flatten(2)[:, None, None].expand(2, 2, 4, 3, 6).gather(3, actions[:, :, :, None]).mean((3, 4))
    offset = torch.tensor([0.3, -2.0])[None, :, None]
    gain, _ = gaussian_critic(beliefs, actions, places, worths, expected + offset)
    torch.testing.assert_close(gain, torch.zeros_like(beliefs))


def test_maps_that_were_not_judged_do_not_count():
    beliefs, actions, places, worths, scores, _ = scene(visits=3)
    scores[:, 1, 2:], scores[:, 2] = torch.nan, torch.nan
    got, _ = gaussian_critic(beliefs, actions, places, worths, scores)
    actions[:, 1, 2:], actions[:, 2], places = 0, 0, places.clone()
    places[:, 2] = VOID_SITE
    assert torch.equal(gaussian_critic(beliefs, actions, places, worths, scores)[0], got)
    nothing, _ = gaussian_critic(beliefs, actions, places, worths, torch.full_like(scores, torch.nan))
    assert torch.equal(nothing, beliefs * 0)
    first, _ = gaussian_critic(beliefs, actions[:, :2, :2], places[:, :2], worths[:, :2], scores[:, :2, :2])
    assert got.abs().max() > 0.01 and not torch.allclose(got, first)


def test_the_iou_that_is_expected_rises_along_its_gain():
    """Against autograd, on two processes: the other one sees half of what both have."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 4, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    gain = 0.5 * (torch.randn(3, 4, 2, 3, generator=generator, dtype=torch.float64).softmax(1) - 0.25)
    visible = torch.rand(3, 1, 2, 3, generator=generator) < 0.8
    probs = logits.softmax(1)
    expected = (probs.detach() + gain).clamp(min=0)
    assert (expected == 0).any() and not visible.all()
    expected = expected / expected.sum(1, keepdim=True)
    hits = (probs * expected * visible).sum((0, 2, 3))
    iou = hits / (((probs + expected) * visible).sum((0, 2, 3)) - hits)
    (slope,) = torch.autograd.grad((iou + 0.05).log().mean(), logits)

    def to_logits(gain):  # the gradient of sum(gain log pi)
        return gain - probs * gain.sum(1, keepdim=True)

    per_site = visible.sum() * slope
    alone = expected_iou_gain(probs, gain, visible, torch.Tensor.clone)
    torch.testing.assert_close(to_logits(alone), per_site)
    counts = []
    expected_iou_gain(probs[:1], gain[:1], visible[:1], lambda own: counts.append(own) or own)
    other = expected_iou_gain(probs[1:], gain[1:], visible[1:], lambda own: own + counts[0])
    torch.testing.assert_close(other, alone[1:])


def test_without_a_site_in_view_no_iou_is_expected():
    probs = torch.full((1, 2, 2, 2), 0.5)
    nowhere = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    assert torch.equal(expected_iou_gain(probs, probs * 0, nowhere, torch.Tensor.clone), probs * 0)


def test_a_memory_keeps_the_last_visits_of_each_image():
    memory = MapMemory.empty(images=3, visits=2, samples=1, classes=2, grid=(1, 2), device=torch.device("cpu"))
    for visit in range(3):
        scores = torch.tensor([[float(visit)], [10.0 + visit]])
        actions, places = torch.full((2, 1, 2), visit % 2), torch.tensor([[0, 1], [1, VOID_SITE]])
        probs = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).expand(2, 2, 2)
        worths = torch.full((2, 2), visit + 0.5)
        memory.see(torch.tensor([2, 0]), places, probs)
        memory.write(torch.tensor([2, 0]), actions, places, worths, scores)
    kept = memory.read(torch.tensor([0, 1, 2]))
    assert kept["scores"].nan_to_num(-1).flatten(1).tolist() == [[12, 11], [-1, -1], [2, 1]]
    assert kept["worths"][:, :, 1].tolist() == [[2.5, 1.5], [1, 1], [2.5, 1.5]]
    assert kept["actions"].flatten(1).tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1]]
    assert kept["places"][0].tolist() == [[1, VOID_SITE]] * 2
    torch.testing.assert_close(kept["beliefs"][:, 0, 0], torch.tensor([[0.5, 0.9], [0.5, 0.5], [0.9, 0.1]]))
    assert memory.read(torch.tensor([2]), visits=1)["scores"].tolist() == [[[2]]]


def test_beliefs_are_seen_in_their_places():
    """Two cells that show one site are averaged, a site out of view is remembered."""
    beliefs, probs = torch.full((1, 2, 2, 2), 0.5), torch.tensor([[[0.9, 0.7, 0.2], [0.1, 0.3, 0.8]]])
    got = see(beliefs, probs, torch.tensor([[3, 3, VOID_SITE]]))
    torch.testing.assert_close(got[0].flatten(1), torch.tensor([[0.5, 0.5, 0.5, 0.8], [0.5, 0.5, 0.5, 0.2]]))


@pytest.mark.parametrize("flipped", [False, True])
def test_cells_are_found_at_their_centres(flipped):
    """An image of 16x16 pixels, positions in 256ths, seen whole or mirrored, with two columns of padding."""
    side = torch.arange(16) * 16
    positions = side[:, None] * 256 + (side.flip(0) if flipped else side)
    positions[:, 14:] = VOID_SITE
    row = [0, 1, 2, VOID_SITE] if not flipped else [3, 2, 1, VOID_SITE]
    expected = [[VOID_SITE if site < 0 else 4 * i + site for site in row] for i in range(4)]
    assert find_places(positions[None], (4, 4)).view(4, 4).tolist() == expected
