"""Settings and rewards at the ends of what is taken: finite weights, or an error that names the setting."""

import pytest
import torch
from accelerate import Accelerator

from rss_hf.advantages import ESTIMATORS, SCALE_REWARDS, EstimatorContext, Progress
from rss_hf.policy import PixelPolicy
from rss_hf.rewards import LARGEST_REWARD


K, B, GRID = 4, 3, (4, 5)
RUN = {"num_samples": K, "strides": [4], "num_iterations": 1}
CASES = [
    (name, scale_rewards)
    for name in ESTIMATORS
    for scale_rewards in SCALE_REWARDS
    if not (name == "score_posterior" and scale_rewards != "none")
    and not (name == "control_variate" and scale_rewards == "mean")
]


def weights_of(name, scale_rewards, rewards, logits=None, steps=2, reward_weights=None, **settings):
    """Those of the last of some steps on the same images, and what was logged."""
    logged = {}
    config = ESTIMATORS[name].make_config(settings, scale_rewards=scale_rewards, **RUN)
    funcs = ["mean_iou", "dice"][: len(reward_weights or [1])]
    by_name = dict(zip(funcs, reward_weights or [1.0], strict=True))
    context = EstimatorContext(by_name, K, B, scale_rewards, Accelerator(cpu=True), logged.__setitem__)
    estimator = ESTIMATORS[name](config, context)
    policy = PixelPolicy(torch.randn(B, 5, *GRID) if logits is None else logits)
    side = torch.arange(20) * 12
    columns = {"image_index": torch.arange(B), "image_positions": (side[:, None] * 256 + side).expand(B, 20, 20)}
    for step in range(steps):
        actions = policy.sample(K)
        weights = estimator.weights(policy, actions, rewards.expand(K, B, 1, 1), columns, Progress(0.6, float(step)))
    return weights, logged


@pytest.mark.parametrize("name, scale_rewards", CASES)
@pytest.mark.parametrize(
    "rewards",
    [
        [LARGEST_REWARD, 0, 0, LARGEST_REWARD],
        [LARGEST_REWARD, 1.0, 0.5, torch.nan],
        [torch.nan] * 4,
        [1e-38, 0, 2e-38, 0],
        [0.1] * 4,
    ],
    ids=["largest", "one large", "none", "denormal", "equal"],
)
def test_weights_are_finite_whatever_the_rewards_are(name, scale_rewards, rewards):
    rewards = torch.tensor(rewards).view(K, 1, 1, 1)
    for sign in [1] if scale_rewards == "mean" else [1, -1]:
        weights, logged = weights_of(name, scale_rewards, sign * rewards)
        assert weights.isfinite().all() and logged["advantage_std"].isfinite()


@pytest.mark.parametrize("scale_rewards", ["batch", "group"])
@pytest.mark.parametrize("name", ["leave_one_out", "pairwise_spatial_difference", "reinforce"])
def test_normalised_weights_do_not_depend_on_the_unit(name, scale_rewards):
    rewards = torch.tensor([1.0, 0.25, 0.5, 0.75]).view(K, 1, 1, 1)
    logits = torch.randn(B, 5, *GRID)
    torch.manual_seed(1)
    expected, _ = weights_of(name, scale_rewards, rewards, logits, steps=1)
    torch.manual_seed(1)
    got, _ = weights_of(name, scale_rewards, LARGEST_REWARD * rewards, logits, steps=1)
    tolerance = {"rtol": 1e-3, "atol": 1e-4 * expected.abs().max().item()}
    torch.testing.assert_close(got, expected, **tolerance)


@pytest.mark.parametrize("name, scale_rewards", CASES)
def test_weights_are_finite_where_the_policy_is_certain(name, scale_rewards):
    """And the judge is not: it gives one map several scores."""
    logits = torch.zeros(B, 5, *GRID)
    logits[:, 2] = 200.0
    rewards = 10 * torch.rand(K, B, 1, 1)
    weights, _ = weights_of(name, scale_rewards, rewards, logits, steps=3)
    assert weights.isfinite().all()


def test_the_control_variate_takes_weights_that_sum_to_0():
    weights, _ = weights_of("control_variate", "batch", 10 * torch.rand(K, B, 1, 1), reward_weights=[1.0, -1.0])
    assert weights.isfinite().all() and (weights != 0).any()


BAD_SETTINGS = [
    ("leave_one_out", {"eta": "0.3"}, "eta must be 0 or a number from 1e-09 to 1e.12 in size, got '0.3'"),
    ("leave_one_out", {"eta": None}, "eta must be .* got None"),
    ("leave_one_out", {"eta": 1e-300}, "eta must be .* got 1e-300"),
    ("leave_one_out", {"eta": float("nan")}, "eta must be .* got nan"),
    ("leave_one_out", {"eta": [0.3]}, r"eta must be .* got \[0.3\]"),
    ("reinforce", {"eta": True}, "eta must be .* got True"),
    ("reinforce", {"confidence_penalty_coef": 1e38}, "confidence_penalty_coef must be .* got 1e.38"),
    ("reinforce", {"confidence_penalty_coef": 10**400}, "confidence_penalty_coef must be"),
    ("score_posterior", {"memory_size": 1e8}, "memory_size must be a whole number, got 100000000.0"),
    ("score_posterior", {"memory_size": "24"}, "memory_size must be a whole number, got '24'"),
    ("score_posterior", {"memory_size": True}, "memory_size must be a whole number, got True"),
    ("score_posterior", {"length_scale": 1e200}, "length_scale must be .* got 1e.200"),
    ("score_posterior", {"score_range": 1e-30}, "score_range must be .* got 1e-30"),
    ("score_posterior", {"score_noise": float("inf")}, "score_noise must be .* got inf"),
    ("score_posterior", {"credit_length_scale": "1"}, "credit_length_scale must be .* got '1'"),
    ("score_posterior", {"rare_class_start": None}, "rare_class_start must be .* got None"),
    ("control_variate", {"image_correlation": 1j}, "image_correlation must be .* got 1j"),
    ("control_variate", {"memory_size": None}, "memory_size must be a whole number, got None"),
    ("control_variate", [1], r"advantage_estimator_kwargs must be a dictionary of settings, got \[1\]"),
    ("leave_one_out", "eta", "advantage_estimator_kwargs must be a dictionary of settings, got 'eta'"),
    ("leave_one_out", {"etta": 1}, "no setting 'etta'.*Did you mean 'eta'"),
    ("leave_one_out", {3: 1}, "no setting 3"),
]


@pytest.mark.parametrize("name, settings, message", BAD_SETTINGS)
def test_settings_that_are_none_are_refused_by_name(name, settings, message):
    with pytest.raises(ValueError, match=message):
        ESTIMATORS[name].make_config(settings, scale_rewards="none", **RUN)


@pytest.mark.parametrize("settings", [{}, None, {"eta": 1}, {"eta": 0.5, "confidence_penalty_coef": 0}])
def test_settings_that_are_numbers_are_taken(settings):
    config = ESTIMATORS["leave_one_out"].make_config(settings, scale_rewards="batch", **RUN)
    assert config.eta == (settings or {}).get("eta", 0.3)
