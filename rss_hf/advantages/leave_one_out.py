"""
Credit: from rewards to advantages, one number for each sampled action.

Rewards are (K, B, 1, 1) for image-level or (K, B, h, w) for pixel-level ones, NaN where none applies. Advantages are 0
there, and, but for `credit="none"`, sum to 0 over the K samples at every site and are exactly 0 where the samples'
rewards are equal. With [`control_variate`] that is so in expectation alone.
"""

from collections.abc import Callable

import torch


EPSILON = 1e-6  # added to a standard deviation before dividing by it, in units of the reward


def less_confidence(rewards: torch.Tensor, probs: torch.Tensor, coef: float) -> torch.Tensor:
    """
    Rewards less `coef` times the policy's confidence in what it did: the probability it gave the action of a site, for
    an image-level reward the mean over sites (ours, not the paper's).

    For `pixel_accuracy`, and for `pixel_match`, confidence is the reward that the policy expects if its probabilities
    are true, so that a coefficient of 1 leaves what it did not expect. Two things follow. Sites that it knows add
    nothing to the differences between samples, where each site's noise is that of all others. And the policy becomes
    what it claims: the expected gradient is that of mean_p(pi(y) - coef/2 sum_c pi(c)^2), with 1 the Brier score. The
    maximum of that is the labels' distribution, where that of the reward alone is to be sure of the likeliest class.
    Above 1 it is that distribution drawn towards the uniform one, the order of classes being the same.

    Args:
        rewards (`torch.Tensor` of shape `(K, B, 1, 1)` or `(K, B, h, w)`): NaN where none applies.
        probs (`torch.Tensor` of shape `(K, B, h, w)`): in [0, 1], the policy's probability of each sampled action.
        coef (`float`): in units of the reward.

    Returns:
        `torch.Tensor`: like `rewards`.
    """
    by_site = rewards.shape[2:] != (1, 1)
    return rewards - coef * (probs if by_site else probs.mean((2, 3), keepdim=True))


def leave_one_out(rewards: torch.Tensor) -> torch.Tensor:
    """
    Each sample against the mean of the others, A_k = r_k - mean_{j != k} r_j. Unbiased, with no critic. Summed over
    samples it is every pair's difference, credited where the pair's actions differ, since where they agree the credits
    cancel: (1/K) sum_k A_k s_k = 1/(K(K-1)) sum_{i<j} (r_i - r_j)(s_i - s_j), s being the score onehot(a) - pi.
    """
    centred, applies = shift(rewards)
    n = applies.sum(0)
    advantages = (centred - centred.sum(0) / n) * (n / (n - 1))
    return advantages.where(applies & (n > 1), 0)


def shift(rewards: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Rewards less the best of their image or site, so that differences of equal rewards are exactly 0 in floating point,
    and 0 where none applies; with the mask (bool, same shape) of where they do.
    """
    applies = ~rewards.isnan()
    best = rewards.nan_to_num(-torch.inf).amax(0)
    return (rewards - best).where(applies, 0), applies


def pairwise_spatial_difference(rewards: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """
    PSD: every pair's difference in reward, credited where the pair's actions differ, in units of the noise that so
    many differing sites make: A_k = 1/(K-1) sum_{j != k} (r_k - r_j) / sqrt(|D_kj| / N), where D_kj are the sites at
    which samples k and j differ (reconstruction: the paper's own formula was not available). Without the divisor it is
    [`leave_one_out`], as shown there; with it, it is biased, for |D| depends on the actions.

    Args:
        rewards (`torch.Tensor` of shape `(K, B, 1, 1)` or `(K, B, h, w)`): NaN where none applies.
        actions (`torch.Tensor` of shape `(K, B, h, w)`): int64.
    """
    maps = actions.flatten(2).transpose(0, 1).float()  # (B, K, N)
    differing = torch.cdist(maps, maps, p=0) / maps.shape[-1]  # (B, K, K), fraction of sites
    weights = differing.clamp(min=1 / maps.shape[-1]).rsqrt().double()  # double: autocast leaves it alone
    centred, applies = (part.double() for part in shift(rewards))
    own = torch.einsum("bkj,jbhw->kbhw", weights, applies) * centred
    others = torch.einsum("bkj,jbhw->kbhw", weights, centred)
    return (applies * (own - others) / (applies.sum(0) - 1).clamp(min=1)).to(rewards.dtype)


def couple(noise: torch.Tensor, blocks: torch.Tensor, fraction: float = 0.25) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The noise of coupled pairs: the second half's maps repeat the first half's, but for random blocks of sites that are
    drawn anew. Each map by itself is still a sample of the policy.

    Args:
        noise (`torch.Tensor` of shape `(K, B, h, w)`): uniform in [0, 1), K even.
        blocks (`torch.Tensor` of shape `(K/2, B, m, n)`): uniform in [0, 1), one number a block of an m x n partition.
        fraction (`float`): probability in (0, 1] that a block is drawn anew.

    Returns:
        the coupled noise (K, B, h, w) and the sites drawn anew (K/2, B, h, w) bool.
    """
    first, fresh = noise.chunk(2)
    resampled = torch.nn.functional.interpolate(blocks, size=noise.shape[-2:], mode="nearest") < fraction
    return torch.cat([first, fresh.where(resampled, first)]), resampled


def coupled_difference(rewards: torch.Tensor, resampled: torch.Tensor, fraction: float = 0.25) -> torch.Tensor:
    """
    PSD of coupled pairs: the difference of a pair's rewards, credited to the sites drawn anew in units of their
    probability, A_i = (r_i - r_j) 1[p resampled] / fraction = -A_j. Unbiased: given that p was drawn anew its two
    actions are independent. The difference carries the noise of the resampled blocks only.

    Args:
        rewards (`torch.Tensor` of shape `(K, B, 1, 1)` or `(K, B, h, w)`): of maps drawn with [`couple`]d noise.
        resampled (`torch.Tensor` of shape `(K/2, B, h, w)`): bool.
        fraction (`float`): as in [`couple`].
    """
    first, second = rewards.chunk(2)
    advantages = (first - second).nan_to_num(0) * resampled / fraction
    return torch.cat([advantages, -advantages])


def control_variate(
    rewards: torch.Tensor, actions: torch.Tensor, probs: torch.Tensor, values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Rewards in two parts: what a critic expects of them, whose policy gradient is taken exactly, and the rest, credited
    by [`leave_one_out`]. Together they are unbiased whatever the critic says, as long as it does not depend on these
    samples; their noise is that of the rest. In contextual bandits that is the doubly robust estimator.

    Args:
        rewards (`torch.Tensor` of shape `(K, B, 1, 1)`): NaN where none applies.
        actions (`torch.Tensor` of shape `(K, B, h, w)`): int64 in [0, C), drawn from `probs`.
        probs (`torch.Tensor` of shape `(B, C, h, w)`): the policy's.
        values (`torch.Tensor` of shape `(B, C, h, w)`): what each action at each site adds to a map's expected reward.

    Returns:
        the advantages of what was not expected (K, B, 1, 1), and those of every action in what was (B, C, h, w), whose
        mean under the policy is 0 at each site; both are 0 for an image of which fewer than two rewards apply, where
        nothing would correct what is expected.
    """
    judged = ((~rewards.isnan()).sum(0) > 1)[:, None]  # (B, 1, 1, 1)
    drawn = values.expand(len(actions), *values.shape).gather(2, actions[:, :, None]).sum((2, 3, 4))
    unexpected = leave_one_out(rewards - drawn[..., None, None])
    return unexpected, (values - (probs * values).sum(1, keepdim=True)) * judged


def normalize_parts(
    unexpected: torch.Tensor,
    expected: torch.Tensor,
    rewards: torch.Tensor,
    probs: torch.Tensor,
    over: str,
    reduce: Callable,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Both parts of [`control_variate`] in units of the deviation of their sum: the variance of what is expected of an
    image's maps, known exactly, and the mean square of what is not, over all images and processes, for the few samples
    of one image do not tell it. Images that are not judged are left out of either.

    Args:
        unexpected, expected (`torch.Tensor`): as [`control_variate`] returns them.
        rewards, probs (`torch.Tensor`): as it was given them.
        over (`str`): `"group"` for each image's own variance of what is expected, `"batch"` for its mean over all
            images and processes, `"none"` for parts unchanged.
        reduce (`Callable`): sums a tensor over all processes, as `accelerator.reduce` does.
    """
    if over == "none":
        return unexpected, expected
    variance = (probs * expected.square()).sum((1, 2, 3))
    applies = ~rewards.isnan()
    judged = applies.sum(0) > 1
    sums = [unexpected.square().sum(), (applies & judged).sum(), variance.sum(), judged.sum()]
    rest, maps, known, images = reduce(torch.stack(sums))
    rest, known = rest / maps.clamp(min=1), known / images.clamp(min=1)
    deviation = ((variance if over == "group" else known) + rest).sqrt() + EPSILON
    deviation = deviation.view(-1, 1, 1)
    return unexpected / deviation, expected / deviation[:, None]


def normalize(advantages: torch.Tensor, rewards: torch.Tensor, over: str, reduce: Callable) -> torch.Tensor:
    """
    Advantages in units that a step can rely on.

    Args:
        advantages (`torch.Tensor` of shape `(K, B, ...)`): of any rule of this file.
        rewards (`torch.Tensor`): those the advantages were made of, NaN where none applies.
        over (`str`):
            - `"batch"`: SyncAN, divided by one root mean square over samples, sites, images and all processes
              (reconstruction: the paper's own formula was not available).
            - `"group"`: divided by the root mean square over the samples that were compared: those of an image for
              an image-level reward, as in GRPO, those of a site for a pixel-level one.
            - `"mean"`: divided by the mean reward of those samples, for rewards that are at least 0. The expected
              gradient is then that of the logarithm of the expected reward, up to the order K of its series: for a
              pixel-level reward of 0 or 1 that is the gradient of cross-entropy, and sites where the policy is wrong
              are not forgotten.
            - `"none"`: advantages unchanged.
        reduce (`Callable`): sums a tensor over all processes, as `accelerator.reduce` does.

    Returns:
        `torch.Tensor`: like `advantages`; all 0 where they were.
    """
    if over == "none":
        return advantages
    if over == "mean":
        torch._assert_async(
            ~(rewards < 0).any(), "advantage_normalization='mean' divides by the mean reward: rewards must be >= 0."
        )
        return advantages / (rewards.nanmean(0).nan_to_num(0) + EPSILON)
    applies = (~rewards.isnan()).expand(advantages.shape)
    dims = (0, 1, 2, 3) if over == "batch" else (0, 2, 3) if rewards.shape[2:] == (1, 1) else (0,)
    moments = torch.stack([advantages.square().sum(dims, keepdim=True), applies.sum(dims, keepdim=True)])
    if over == "batch":
        moments = reduce(moments)
    deviation = (moments[0] / moments[1].clamp(min=1)).sqrt()
    return advantages / (deviation + EPSILON)
