"""The posterior against the Gaussian's formula written out."""

import math
from functools import partial

import pytest
import torch

from rss_hf.advantages.score_posterior.gaussian import gaussian_filter, gaussian_posterior
from rss_hf.advantages.score_posterior.judged_maps import OUTSIDE


SCORE_NOISE = 0.1
posterior = partial(gaussian_posterior, length_scale=1.0, image_correlation=0.0, score_noise=SCORE_NOISE)


def scene(batch_size=2, classes=3, views=2, samples=4, grid=(2, 3), seed=0):
    """Prior, maps of all sites in their own places, and the scores of true labels, float64."""
    generator = torch.Generator().manual_seed(seed)
    prior_probs = torch.randn(batch_size, classes, *grid, generator=generator, dtype=torch.float64).softmax(1)
    sites = grid[0] * grid[1]
    actions = torch.randint(classes, (batch_size, views, samples, sites), generator=generator)
    labels = torch.randint(classes, (batch_size, sites), generator=generator)
    site_index = torch.arange(sites).expand(batch_size, views, sites)
    scores = (actions == labels[:, None, None]).double().mean(-1)
    class_values = torch.ones(batch_size, views, classes, dtype=torch.float64)
    return prior_probs, actions, site_index, class_values, scores, labels


def written_out(factors, length_scale, image_correlation):
    """The covariance of (site, class) on a grid of 2 x 3, L_q K(q, q') L_q'^T."""
    covariance, share = torch.zeros(18, 18, dtype=torch.float64), 1 - 2**-length_scale
    for p in range(6):
        for q in range(6):
            distance = (p // 3 - q // 3) ** 2 + (p % 3 - q % 3) ** 2
            near = (1 - share) * (p == q) + share * torch.tensor(-distance / (2 * length_scale**2)).double().exp()
            near = image_correlation + (1 - image_correlation) * near
            covariance[3 * p : 3 * p + 3, 3 * q : 3 * q + 3] = near * factors[p] @ factors[q].T
    return covariance


@pytest.mark.parametrize(
    "length_scale, valued, image_correlation, credit_length_scale",
    [(1, False, 0, None), (2.5, False, 0, 1.5), (2.5, True, 0, None), (2.5, False, 0.4, None), (2.5, True, 0.4, 1)],
)
def test_it_is_the_posterior_of_the_gaussian_written_out(length_scale, valued, image_correlation, credit_length_scale):
    """Site by site and map by map; an offset of a view has a variance of 1e6 instead of an infinite one."""
    prior_probs, actions, site_index, class_values, scores, labels = scene()
    site_index = site_index.clone()
    site_index[:, 1] = torch.tensor([1, 0, 2, 2, OUTSIDE, 5])  # another view: turned, zoomed in on site 2, padded
    if valued:  # classes of unlike value, and the second view's in another unit
        class_values = torch.tensor([[1.0, 4.0, 0.5], [30.0, 20.0, 10.0]]).double().expand(2, 2, 3)
        right = (actions == labels[:, None, None]) * class_values[:, :, None].expand(2, 2, 4, 3).gather(3, actions)
        scores = (right * (site_index >= 0)[:, :, None]).sum(3) / (site_index >= 0).sum(2)[:, :, None]
    settings = (length_scale, image_correlation, SCORE_NOISE, credit_length_scale)
    shift, advantages = gaussian_posterior(prior_probs, actions, site_index, class_values, scores, *settings)
    for image in range(2):
        prior = prior_probs[image].flatten(1)  # (3, 6)
        root = prior.sqrt()
        factors = [torch.diag(root[:, q]) @ (torch.eye(3) - torch.outer(root[:, q], root[:, q])) for q in range(6)]
        covariance = written_out(factors, length_scale, image_correlation)
        maps = torch.zeros(8, 18, dtype=torch.float64)
        for k in range(8):
            for cell in range(6):
                if (site := site_index[image, k // 4, cell]) >= 0:
                    action = actions[image, k // 4, k % 4, cell]
                    maps[k, 3 * site + action] += class_values[image, k // 4, action] / (6 - k // 4)  # in view
        scale = torch.einsum("vc,cq->v", class_values[image].square(), prior).div(6).sqrt().repeat_interleave(4)
        maps = maps / scale[:, None]
        centring = torch.block_diag(*[torch.eye(4).double() - 1 / 4] * 2)
        score_variance = (centring @ maps @ covariance @ maps.T @ centring).diagonal().mean()
        views = torch.block_diag(*[torch.ones(4, 4).double()] * 2)
        total = maps @ covariance @ maps.T + score_variance * (SCORE_NOISE * torch.eye(8) + 1e6 * views)
        residuals = scores[image].flatten() / scale - maps @ prior.T.flatten()
        data_term = maps.T @ torch.linalg.solve(total, residuals)
        spread = covariance if credit_length_scale is None else written_out(factors, credit_length_scale, 0)
        for got, expected in ((shift, covariance @ data_term), (advantages, spread @ data_term)):
            torch.testing.assert_close(got[image].flatten(1).T.flatten(), expected, rtol=1e-4, atol=1e-6)


def test_enough_maps_determine_the_labels():
    """40 numbers for 6 sites of 3 classes; every map seen before is worth as much as a new one."""
    prior_probs, actions, site_index, class_values, scores, labels = scene(views=10)
    shift, _ = posterior(prior_probs, actions, site_index, class_values, scores)
    assert ((prior_probs + shift).flatten(2).argmax(1) == labels).all()
    assert not (prior_probs.flatten(2).argmax(1) == labels).all()
    few, _ = posterior(prior_probs, actions[:, :1], site_index[:, :1], class_values[:, :1], scores[:, :1])
    wrong = torch.nn.functional.one_hot(labels, 3).transpose(1, 2).view(prior_probs.shape) - prior_probs
    assert (wrong - shift).square().sum() < (wrong - few).square().sum() < wrong.square().sum()


def test_scores_that_were_expected_but_for_an_offset_shift_nothing():
    prior_probs, actions, site_index, class_values, _, _ = scene()
    expected = (
        prior_probs.flatten(2)[:, None, None].expand(2, 2, 4, 3, 6).gather(3, actions[:, :, :, None]).mean((3, 4))
    )
    offset = torch.tensor([0.3, -2.0])[None, :, None]
    shift, _ = posterior(prior_probs, actions, site_index, class_values, expected + offset)
    torch.testing.assert_close(shift, torch.zeros_like(prior_probs))


def test_maps_that_were_not_judged_do_not_count():
    prior_probs, actions, site_index, class_values, scores, _ = scene(views=3)
    scores[:, 1, 2:], scores[:, 2] = torch.nan, torch.nan
    got, _ = posterior(prior_probs, actions, site_index, class_values, scores)
    actions[:, 1, 2:], actions[:, 2], site_index = 0, 0, site_index.clone()
    site_index[:, 2] = OUTSIDE
    assert torch.equal(posterior(prior_probs, actions, site_index, class_values, scores)[0], got)
    nothing, _ = posterior(prior_probs, actions, site_index, class_values, torch.full_like(scores, torch.nan))
    assert torch.equal(nothing, prior_probs * 0)
    first, _ = posterior(prior_probs, actions[:, :2, :2], site_index[:, :2], class_values[:, :2], scores[:, :2, :2])
    assert got.abs().max() > 0.01 and not torch.allclose(got, first)


ONE_HOT = torch.nn.functional.one_hot(torch.arange(6).view(1, 2, 3) % 3).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize(
    "changes",
    [
        {"prior_probs": ONE_HOT.expand(2, 3, 2, 3)},
        {"prior_probs": (80 * ONE_HOT).softmax(1).expand(2, 3, 2, 3)},
        {"prior_probs": (100 * ONE_HOT).softmax(1).expand(2, 3, 2, 3)},
        {"actions": torch.ones(2, 2, 4, 6, dtype=torch.int64)},
        {"site_index": torch.full((2, 2, 6), OUTSIDE)},
        {"class_values": torch.zeros(2, 2, 3)},
        {"class_values": torch.zeros(2, 2, 3), "scores": 1e12 * torch.rand(2, 2, 4)},
    ],
    ids=["certain", "underflows", "denormal", "same maps", "outside", "no value", "no value, large scores"],
)
def test_scores_that_no_site_explains_shift_nothing(changes):
    """A judge that gives one map several scores, and a policy that is certain of each site."""
    names = ("prior_probs", "actions", "site_index", "class_values", "scores")
    arguments = {
        name: part.float() if part.is_floating_point() else part for name, part in zip(names, scene(), strict=False)
    }
    assert posterior(**arguments)[0].abs().max() > 0.01
    shift, advantages = posterior(**arguments | changes, credit_length_scale=2.0)
    assert torch.equal(shift, torch.zeros(2, 3, 2, 3)) and torch.equal(advantages, shift)


def test_one_such_image_does_not_touch_another():
    parts = [part.float() if part.is_floating_point() else part for part in scene()[:5]]
    both, _ = posterior(*parts)
    parts[0] = torch.cat([ONE_HOT, parts[0][1:]])
    shift, _ = posterior(*parts)
    assert torch.equal(shift[1], both[1]) and (shift[0] == 0).all()


@pytest.mark.parametrize("magnitude", [1e-12, 1e-6, 1e6, 1e12])
def test_the_unit_of_scores_and_values_does_not_matter(magnitude):
    prior_probs, actions, site_index, class_values, scores, _ = (
        part.float() if part.is_floating_point() else part for part in scene()
    )
    expected, _ = posterior(prior_probs, actions, site_index, class_values, scores)
    got, _ = posterior(prior_probs, actions, site_index, magnitude * class_values, magnitude * scores)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("score_noise", [1e-9, 1e-7, 1e-6])
def test_equations_that_cannot_be_solved_are_refused(score_noise):
    """240 numbers for 6 sites, in float32."""
    prior_probs, actions, site_index, class_values, scores, _ = (
        part.float() if part.is_floating_point() else part for part in scene(views=60)
    )
    with pytest.raises(RuntimeError, match=f"raise score_noise={score_noise:g}"):
        posterior(prior_probs, actions, site_index, class_values, scores, score_noise=score_noise)


def test_a_policy_of_nan_shows():
    prior_probs, actions, site_index, class_values, scores, _ = scene()
    prior_probs[0] = torch.nan
    shift, _ = posterior(prior_probs, actions, site_index, class_values, scores)
    assert shift[0].isnan().all() and shift[1].isfinite().all()


def test_the_filter_is_the_gaussian_and_0_far_away():
    impulse = torch.zeros(1, 12)
    impulse[0, 0] = 1
    expected = torch.tensor([math.exp(-(distance**2) / 2) for distance in range(6)] + [0.0] * 6)
    torch.testing.assert_close(gaussian_filter(impulse, 1.0)[0], expected)
    assert (gaussian_filter(impulse, 1.0)[0, 6:] == 0).all()


def test_a_map_that_was_judged_alone_is_compared_with_nothing():
    prior_probs, actions, site_index, class_values, scores, _ = scene()
    scores[:, 1, 1:] = torch.nan
    got, _ = posterior(prior_probs, actions, site_index, class_values, scores)
    actions[:, 1, 0], scores[:, 1, 0] = (actions[:, 1, 0] + 1) % 3, 5.0
    other, _ = posterior(prior_probs, actions, site_index, class_values, scores)
    assert got.abs().max() > 0.01
    torch.testing.assert_close(other, got)


def test_a_view_of_one_site_is_an_image_of_one_site():
    prior_probs, actions, _, class_values, scores, _ = scene(batch_size=1, views=1)
    site_index = torch.full((1, 1, 6), OUTSIDE)
    site_index[..., 2] = 4
    actions[0, 0, :, 2] = torch.tensor([0, 1, 2, 0])
    got, _ = posterior(prior_probs, actions, site_index, class_values, scores)
    alone, _ = posterior(
        prior_probs[:, :, 1:2, 1:2], actions[..., 2:3], torch.zeros(1, 1, 1).long(), class_values, scores
    )
    assert alone.abs().max() > 0.01
    torch.testing.assert_close(got[:, :, 1:2, 1:2], alone)


def test_one_image_that_cannot_be_solved_is_refused_among_others():
    parts = [part.float() if part.is_floating_point() else part for part in scene(views=60)[:5]]
    parts[0] = torch.cat([ONE_HOT, parts[0][1:]])  # of a policy that is certain: nothing to solve
    with pytest.raises(RuntimeError, match="raise score_noise"):
        posterior(*parts, score_noise=1e-9)


def test_no_gradient_flows_through_the_posterior():
    prior_probs, *others = scene()[:5]
    assert not any(part.requires_grad for part in posterior(prior_probs.requires_grad_(), *others))
