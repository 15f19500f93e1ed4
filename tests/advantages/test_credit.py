"""The policy gradient against enumeration: 2 sites, 3 classes, an arbitrary reward of the joint action."""

from itertools import product
from unittest.mock import Mock

import pytest
import torch

from rss_hf.advantages.leave_one_out import (
    control_variate,
    couple,
    coupled_difference,
    leave_one_out,
    less_confidence,
    normalize,
    normalize_parts,
    pairwise_spatial_difference,
)
from rss_hf.policy.pixel_policy import PixelPolicy
from rss_hf.training.loss import Experience, action_weights, policy_gradient_loss


C, SITES = 3, 2
REWARD_TABLE = torch.tensor([[0.1, 0.9, 0.3], [0.7, 0.2, 0.0], [0.5, 0.4, 1.0]], dtype=torch.float64)


def toy(requires_grad=False):
    logits = torch.tensor([[[[0.3, -0.5]], [[-0.2, 0.8]], [[0.6, 0.1]]]], dtype=torch.float64)
    return logits.requires_grad_(requires_grad)


def reward_of(actions):
    return REWARD_TABLE[actions[:, :, 0, 0], actions[:, :, 0, 1]][..., None, None]  # (K, B, 1, 1)


def expected_reward_gradient():
    """d E[R] / d logits by enumeration of the 9 joint actions."""
    logits = toy(True)
    probs = logits.softmax(1)
    value = sum(REWARD_TABLE[a, b] * probs[0, a, 0, 0] * probs[0, b, 0, 1] for a, b in product(range(C), repeat=2))
    return torch.autograd.grad(value, logits)[0]


def surrogate_gradient(actions, advantages):
    logits = toy(True)
    policy = PixelPolicy(logits)
    loss = policy_gradient_loss(policy, on_policy(policy, actions, advantages), 0.2)
    return -SITES * torch.autograd.grad(loss, logits)[0]  # the loss is a mean over sites, the value's gradient a sum


def enumerate_maps(num_maps):
    """All `num_maps`-tuples of joint actions, (num_maps, tuples, 1, 2), with their probabilities (tuples,)."""
    joint = torch.tensor(list(product(range(C), repeat=SITES)))
    log_p = PixelPolicy(toy()).log_prob(joint.view(-1, 1, 1, SITES)).sum((1, 2, 3))
    index = torch.cartesian_prod(*[torch.arange(len(joint))] * num_maps).view(-1, num_maps)
    return joint[index].permute(1, 0, 2).unsqueeze(2), log_p[index].sum(1).exp()


@pytest.mark.parametrize("num_samples", [2, 3])
def test_leave_one_out_is_unbiased_exactly(num_samples):
    actions, p = enumerate_maps(num_samples)
    gradient = sum(
        weight * surrogate_gradient(a, leave_one_out(reward_of(a)))
        for weight, a in zip(p, actions.unsqueeze(2).unbind(1), strict=True)
    )
    torch.testing.assert_close(gradient, expected_reward_gradient())


@pytest.mark.parametrize("num_samples", [2, 3])
@pytest.mark.parametrize("over", ["none", "batch", "group"])
@pytest.mark.parametrize("scale", [1, 0])  # the reward, and one that is the same for all
def test_a_control_variate_is_unbiased_whatever_it_expects(num_samples, over, scale):
    """In units of the deviation it is that of the reward, but for the part of the samples in the deviation itself."""
    actions, p = enumerate_maps(num_samples)
    values = torch.randn(1, C, 1, SITES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probs = toy().softmax(1)
    gradient = 0
    for weight, a in zip(p, actions.unsqueeze(2).unbind(1), strict=True):
        unexpected, expected = control_variate(scale * reward_of(a), a, probs, values)
        normalized = normalize_parts(unexpected, expected, reward_of(a), probs, over, torch.Tensor.clone)
        # for any normalisation both parts are divided by one number
        unit = normalized[1].norm() / expected.norm()
        torch.testing.assert_close(normalized[0], unexpected * unit)
        exact = (normalized[1] * probs).sum(1, keepdim=True)
        torch.testing.assert_close(exact, torch.zeros_like(exact))
        by_class = (normalized[1] / unit) * probs  # the gradient of sum_p sum_c pi_p(c) values by the logits
        gradient = gradient + weight * (surrogate_gradient(a, normalized[0] / unit) + by_class)
    torch.testing.assert_close(gradient, scale * expected_reward_gradient())


def test_what_is_expected_of_an_image_that_is_not_judged_teaches_nothing():
    generator = torch.Generator().manual_seed(3)
    actions, values = torch.randint(3, (4, 3, 2, 2), generator=generator), torch.randn(3, 3, 2, 2, generator=generator)
    rewards = torch.rand(4, 3, 1, 1, generator=generator)
    rewards[:, 1], rewards[1:, 2] = torch.nan, torch.nan  # an image without any score, one with a single one
    for part in control_variate(rewards, actions, torch.full_like(values, 1 / 3), values):
        images = part if len(part) == 3 else part.transpose(0, 1)
        assert (images[0] != 0).any() and (images[1:] == 0).all()


def test_what_is_expected_rightly_leaves_no_noise():
    actions, _ = enumerate_maps(2)
    values = torch.randn(1, C, 1, SITES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rewards = values.expand(*actions.shape[:2], C, 1, SITES).gather(2, actions[:, :, None]).sum((2, 3, 4)) + 0.3
    probs, maps = toy().softmax(1).expand(len(actions[0]), -1, -1, -1), values.expand(len(actions[0]), -1, -1, -1)
    unexpected, expected = control_variate(rewards[..., None, None], actions, probs, maps)
    torch.testing.assert_close(unexpected, torch.zeros_like(unexpected))
    one = (probs * expected.square()).sum((1, 2, 3))[0]
    _, normalized = normalize_parts(unexpected, expected, rewards[..., None, None], probs, "group", torch.Tensor.clone)
    torch.testing.assert_close(normalized, expected / one.sqrt(), rtol=1e-5, atol=0)  # but for EPSILON


def test_parts_are_normalized_over_processes_as_over_their_union():
    generator = torch.Generator().manual_seed(2)
    unexpected, expected = torch.randn(4, 6, 1, 1, generator=generator), torch.randn(6, 3, 2, 2, generator=generator)
    rewards = torch.zeros(4, 6, 1, 1)
    rewards[1:, 0] = rewards[0, 5] = torch.nan  # an image that is not judged, and a map of another
    unexpected = unexpected.where(~rewards.isnan(), 0)
    unexpected[:, 0] = 0
    expected = expected * torch.arange(6).view(-1, 1, 1, 1)
    probs = torch.randn(6, 3, 2, 2, generator=generator).softmax(1)
    for over in ("batch", "group"):
        whole = normalize_parts(unexpected, expected, rewards, probs, over, torch.Tensor.clone)
        parts = [
            (unexpected[:, half], expected[half], rewards[:, half], probs[half]) for half in (slice(2), slice(2, 6))
        ]
        reduce = Mock(side_effect=torch.Tensor.clone)
        for part in parts:
            normalize_parts(*part, over, reduce)
        both = sum(call.args[0] for call in reduce.call_args_list)
        got = [normalize_parts(*part, over, Mock(return_value=both)) for part in parts]
        torch.testing.assert_close(torch.cat([part for part, _ in got], 1), whole[0])
        torch.testing.assert_close(torch.cat([part for _, part in got]), whole[1])
    by_image = (probs * expected.square()).sum((1, 2, 3)) + unexpected.square().sum() / 19
    torch.testing.assert_close(whole[1], expected / by_image.sqrt().view(-1, 1, 1, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("coef", [1.0, 1.3])
@pytest.mark.parametrize("by_site", [False, True])
def test_less_confidence_a_reward_of_right_or_wrong_teaches_the_brier_score(coef, by_site):
    """The expected gradient is that of mean_p(pi(y) - coef/2 sum_c pi(c)^2), by automatic differentiation."""
    labels = torch.tensor([[[[1, 2]]]])
    actions, p = enumerate_maps(2)
    gradient = 0
    for weight, a in zip(p, actions.unsqueeze(2).unbind(1), strict=True):
        right = (a == labels).double()
        rewards = right if by_site else right.mean((2, 3), keepdim=True)
        rewards = less_confidence(rewards, PixelPolicy(toy()).log_prob(a).exp(), coef)
        gradient = gradient + weight * surrogate_gradient(a, leave_one_out(rewards)) / (SITES if by_site else 1)
    logits = toy(True)
    probs = logits.softmax(1)
    score = (probs.gather(1, labels) - coef / 2 * probs.square().sum(1, keepdim=True)).mean()
    torch.testing.assert_close(gradient, torch.autograd.grad(score, logits)[0])


def test_coupled_pairs_are_unbiased_exactly():
    """Every (first map, second map, resampled sites) with its probability, sites resampled independently."""
    actions, _ = enumerate_maps(2)
    fraction, probs, total = 0.25, PixelPolicy(toy()).probs[0, :, 0], 0
    gradient = torch.zeros_like(toy())
    for pair in actions.unbind(1):
        for mask in product([False, True], repeat=SITES):
            p = 1.0
            for site, fresh in enumerate(mask):
                first, second = pair[0, 0, site], pair[1, 0, site]
                given = probs[second, site] if fresh else float(first == second)
                p = p * probs[first, site] * given * (fraction if fresh else 1 - fraction)
            resampled = torch.tensor(mask).view(1, 1, 1, SITES)
            a = pair.unsqueeze(1)
            gradient += p * surrogate_gradient(a, coupled_difference(reward_of(a), resampled, fraction))
            total += p
    torch.testing.assert_close(total, torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(gradient, expected_reward_gradient())


def test_couple_draws_policy_samples_that_differ_in_the_blocks_only():
    policy = PixelPolicy(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)))
    noise = torch.rand(4000, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    blocks = torch.rand(2000, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    coupled, resampled = couple(noise, blocks, 0.25)
    first, second = policy.inverse_cdf(coupled).chunk(2)
    assert torch.equal(first[~resampled], second[~resampled])
    assert (first[resampled] != second[resampled]).any()
    assert abs(resampled.float().mean() - 0.25) < 0.01
    frequencies = torch.nn.functional.one_hot(second, 4).float().mean(0).permute(0, 3, 1, 2)
    torch.testing.assert_close(frequencies, policy.probs, atol=5 * 0.5 / 2000**0.5, rtol=0)


def test_leave_one_out_is_every_pair_credited_where_it_differs():
    actions = PixelPolicy(torch.randn(2, 3, 4, 5)).sample(6)
    rewards = torch.rand(6, 2, 1, 1)
    pairs = torch.zeros(6, 2, 4, 5)
    for i, j in product(range(6), repeat=2):
        pairs[i] += (rewards[i] - rewards[j]) * (actions[i] != actions[j]) / 5
    got, expected = (action_weights(actions, part, 3) * actions.numel() for part in (pairs, leave_one_out(rewards)))
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)


def test_psd_against_its_formula():
    actions = PixelPolicy(torch.randn(2, 3, 4, 5)).sample(6)
    rewards = torch.rand(6, 2, 1, 1)
    expected = torch.zeros_like(rewards)
    for k, j in product(range(6), repeat=2):
        if k != j:
            differing = (actions[k] != actions[j]).float().mean((1, 2)).view(2, 1, 1)
            expected[k] += (rewards[k] - rewards[j]) / differing.sqrt() / 5
    torch.testing.assert_close(pairwise_spatial_difference(rewards, actions), expected)
    with torch.autocast("cpu", torch.bfloat16):  # as in a bf16 run: no less exact
        torch.testing.assert_close(pairwise_spatial_difference(rewards, actions), expected)


def on_policy(policy, actions, advantages):
    by_site = advantages.shape[2:] != (1, 1)
    weights = action_weights(actions, advantages, policy.num_actions)
    return Experience(policy.log_probs.detach(), weights, actions, leave_one_out, by_site)


def rules(rewards, actions):
    half = rewards.shape[0] // 2
    yield leave_one_out(rewards)
    yield pairwise_spatial_difference(rewards, actions)
    yield coupled_difference(rewards, torch.ones(half, *actions.shape[1:], dtype=torch.bool))


@pytest.mark.parametrize("shape", [(6, 2, 1, 1), (6, 2, 4, 5)])
@pytest.mark.parametrize("over", ["batch", "group", "mean", "none"])
def test_equal_rewards_give_exactly_no_advantage(shape, over):
    rewards = torch.full(shape, 0.1) + torch.arange(2).view(1, 2, 1, 1) / 3  # thirds and tenths: sums of them round
    actions = torch.randint(3, (6, 2, 4, 5))
    for advantages in rules(rewards, actions):
        assert (normalize(advantages, rewards, over, lambda t: t) == 0).all()


@pytest.mark.parametrize("shape", [(6, 2, 1, 1), (6, 2, 4, 5)])
def test_rewards_that_do_not_apply_get_no_credit_and_give_none(shape):
    rewards = torch.rand(shape)
    rewards[:, 1] = torch.nan
    rewards[0, 0] = torch.nan
    actions = torch.randint(3, (6, 2, 4, 5))
    for advantages in rules(rewards, actions):
        assert (advantages[:, 1] == 0).all() and (advantages[0, 0] == 0).all()
        assert advantages.isfinite().all() and (advantages[:, 0] != 0).any()
    torch.testing.assert_close(leave_one_out(rewards)[1:, :1], leave_one_out(rewards[1:, :1]))


def test_syncan_divides_by_the_deviation_of_all_that_applies():
    rewards = torch.randn(6, 4, 1, 1) * torch.tensor([1.0, 5, 1, 1]).view(1, 4, 1, 1)
    rewards[:, 2] = torch.nan
    advantages = leave_one_out(rewards)
    deviation = advantages[:, [0, 1, 3]].square().mean().sqrt()
    torch.testing.assert_close(normalize(advantages, rewards, "batch", lambda t: t), advantages / deviation)
    by_group = normalize(advantages, rewards, "group", lambda t: t)
    torch.testing.assert_close(by_group[:, [0, 1, 3]].square().mean(0), torch.ones(3, 1, 1))


def test_syncan_over_processes_is_syncan_over_their_union():
    """Each process normalises its part with the sum of both moments; one has no image that applies."""
    rewards = torch.randn(6, 4, 1, 1)
    rewards[:, 2:] = torch.nan
    advantages = leave_one_out(rewards)
    whole = normalize(advantages, rewards, "batch", lambda t: t)
    parts = [(advantages[:, :2], rewards[:, :2]), (advantages[:, 2:], rewards[:, 2:])]
    moments = []
    for part in parts:
        normalize(*part, "batch", lambda t: moments.append(t) or t)
    synced = [normalize(*part, "batch", lambda t: sum(moments)) for part in parts]
    torch.testing.assert_close(torch.cat(synced, 1), whole)


def test_on_policy_the_gradient_is_that_of_minus_advantage_times_log_prob():
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    policy = PixelPolicy(logits)
    actions, advantages = policy.sample(6), torch.randn(6, 2, 4, 5, dtype=torch.float64)
    direct = -(advantages * policy.log_prob(actions)).mean()
    for eta in (None, 0.2):  # it has not moved, whether that is asked or known
        loss = policy_gradient_loss(policy, on_policy(policy, actions, advantages), eta)
        torch.testing.assert_close(*[torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (loss, direct)])


@pytest.mark.parametrize("sites", [(1, 1), (4, 5)])
@pytest.mark.parametrize("credit", [leave_one_out, torch.Tensor.clone])
def test_off_policy_its_gradient_is_that_of_the_square_of_what_remains(sites, credit):
    old = PixelPolicy(torch.randn(2, 3, 4, 5, dtype=torch.float64))
    actions, advantages = old.sample(6), torch.randn(6, 2, *sites, dtype=torch.float64)
    logits = (old.log_probs + 0.3 * torch.randn(2, 3, 4, 5)).requires_grad_()
    policy, eta = PixelPolicy(logits), 0.7
    moved = policy.log_prob(actions) - old.log_prob(actions)
    by_site = sites != (1, 1)
    if not by_site:
        moved, eta_of_map = moved.sum((2, 3), keepdim=True), eta * 20**0.5
    remaining = credit(advantages - moved / (eta if by_site else eta_of_map))
    # A rule that centres is a multiple of a projection: c c = K / (K - 1) c for leave-one-out.
    scale = 5 / 6 if credit is leave_one_out else 1
    square = (eta if by_site else eta_of_map) / 2 * scale * remaining.square().sum() / actions.numel()
    weights = action_weights(actions, credit(advantages), 3)
    experience = Experience(old.log_probs, weights, actions, credit, by_site)
    loss = policy_gradient_loss(policy, experience, eta)
    torch.testing.assert_close(*[torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (loss, square)])


def test_a_reward_of_the_sites_is_learned_exactly():
    """From all 9 maps of 2 sites, once each: the gradient is 0 at pi_old exp(eta' Q), and nowhere on the way to it."""
    old = PixelPolicy(torch.randn(1, 3, 1, 2, dtype=torch.float64))
    values = torch.randn(1, 3, 1, 2, dtype=torch.float64)
    actions = torch.tensor(list(product(range(3), repeat=2))).view(9, 1, 1, 2)
    rewards = values.expand(9, 1, 3, 1, 2).gather(2, actions.unsqueeze(2)).squeeze(2).sum((2, 3), keepdim=True)
    weights = action_weights(actions, leave_one_out(rewards), 3)
    experience = Experience(old.log_probs, weights, actions, leave_one_out, by_site=False)
    for way in (0.0, 0.5, 0.99, 1.0, 1.5):
        logits = (old.log_probs + way * 0.7 * 2**0.5 * values).requires_grad_()
        (gradient,) = torch.autograd.grad(policy_gradient_loss(PixelPolicy(logits), experience, 0.7), logits)
        assert (gradient.abs().max() < 1e-12) == (way == 1)


def test_with_a_control_variate_it_is_learned_in_expectation():
    """From two maps, whatever the critic says of them: as above, over all pairs of maps that may be drawn."""
    old, generator = PixelPolicy(toy()), torch.Generator().manual_seed(4)
    values, guess = torch.randn(2, 1, C, 1, SITES, generator=generator, dtype=torch.float64)
    pairs, p = enumerate_maps(2)
    for way in (0.5, 1.0, 1.5):
        logits = (old.log_probs + way * 0.7 * SITES**0.5 * values).requires_grad_()
        loss = 0
        for weight, actions in zip(p, pairs.unsqueeze(2).unbind(1), strict=True):
            rewards = values.expand(2, *values.shape).gather(2, actions.unsqueeze(2)).sum((2, 3, 4))[..., None, None]
            unexpected, expected = control_variate(rewards, actions, old.probs, guess)
            weights = action_weights(actions, unexpected, C) + old.probs * expected / SITES
            experience = Experience(old.log_probs, weights, actions, leave_one_out, by_site=False)
            loss = loss + weight * policy_gradient_loss(PixelPolicy(logits), experience, 0.7)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert (gradient.abs().max() < 1e-12) == (way == 1)


def test_the_group_of_a_pixel_level_reward_is_a_site():
    rewards = (torch.rand(6, 2, 4, 5) < 0.4).float()
    advantages = leave_one_out(rewards)
    normalized = normalize(advantages, rewards, "group", lambda t: t)
    varied = rewards.std(0) > 0
    assert 0 < varied.sum() < varied.numel()
    torch.testing.assert_close(normalized.square().mean(0), varied.float(), atol=1e-4, rtol=0)  # EPSILON off


def test_pixel_match_over_its_mean_gives_the_gradient_of_cross_entropy():
    """In expectation, up to the chance (1 - pi(y))^K that no sample hits: here below 1e-4."""
    logits = (0.5 * torch.randn(1, 3, 2, 2, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(3, (1, 2, 2))
    policy = PixelPolicy(logits)
    assert (1 - policy.probs.gather(1, labels[None])).max() ** 256 < 1e-4
    gradients = []
    for _ in range(400):
        actions = policy.sample(256)
        rewards = (actions == labels).double()
        advantages = normalize(leave_one_out(rewards), rewards, "mean", lambda t: t)
        loss = policy_gradient_loss(policy, on_policy(policy, actions, advantages), 0.2)
        gradients.append(torch.autograd.grad(loss, logits, retain_graph=True)[0])
    gradients = torch.stack(gradients)
    (expected,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, labels), logits)
    error = gradients.std(0) / len(gradients) ** 0.5
    # Four standard errors of the mean, and the bias of a ratio of means, of order 1/K.
    assert ((gradients.mean(0) - expected).abs() < 4 * error + expected.abs() / 64).all()


def test_negative_rewards_have_no_mean_to_divide_by():
    rewards = torch.tensor([-1.0, 2.0]).view(2, 1, 1, 1)
    with pytest.raises(RuntimeError, match="must be >= 0"):
        normalize(leave_one_out(rewards), rewards, "mean", lambda t: t)
