"""What all estimators share: settings at their ends, checks against the run, weights, what is logged and said."""

import re

import pytest
import torch
from accelerate import Accelerator

from rss_hf.advantages import (
    ESTIMATORS,
    EstimatorContext,
    Progress,
    action_weights,
    confidence_penalty,
    leave_one_out,
    normalize,
)
from rss_hf.policy import PixelPolicy


RUN = {"num_samples": 4, "strides": [4], "scale_rewards": "batch", "num_iterations": 1}


def make_config(name, settings=None, **run):
    return ESTIMATORS[name].make_config(settings, **RUN | run)


@pytest.mark.parametrize("coef", [0.0, 1.3])
@pytest.mark.parametrize("scale_rewards", ["batch", "group", "none"])
def test_weights_are_those_of_normalised_advantages_of_shaped_rewards(coef, scale_rewards):
    policy, rewards = PixelPolicy(torch.randn(3, 5, 2, 4)), torch.rand(4, 3, 1, 1)
    actions, logged = policy.sample(4), {}
    config = make_config("leave_one_out", {"confidence_penalty_coef": coef}, scale_rewards=scale_rewards)
    context = EstimatorContext({"dice": 1.0}, 4, 3, scale_rewards, Accelerator(cpu=True), logged.__setitem__)
    got = ESTIMATORS["leave_one_out"](config, context).weights(policy, actions, rewards, {}, Progress(0.5))
    probs = policy.log_prob(actions).exp()
    advantages = leave_one_out(confidence_penalty(rewards, probs, coef))
    expected = action_weights(actions, normalize(advantages, rewards, scale_rewards, torch.Tensor.clone), 5)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(logged.pop("advantage_std"), advantages.square().mean().sqrt())
    assert set(logged) == ({"confidence"} if coef else set()) and (
        not coef or torch.equal(logged["confidence"], probs)
    )


@pytest.mark.parametrize("name, least", [("leave_one_out", 2), ("pairwise_spatial_difference", 2), ("reinforce", 1)])
def test_as_few_samples_as_can_be_compared_are_taken(name, least):
    assert make_config(name, num_samples=least).eta == 0.3
    with pytest.raises(ValueError, match=f"num_samples must be at least {least} .*, got {least - 1}"):
        make_config(name, num_samples=least - 1)


@pytest.mark.parametrize("name", ["leave_one_out", "reinforce"])
def test_a_confidence_penalty_has_no_mean_to_divide_by(name):
    assert make_config(name, {}, scale_rewards="mean").confidence_penalty_coef == 0
    assert make_config(name, {"confidence_penalty_coef": 1.0}).confidence_penalty_coef == 1
    with pytest.raises(ValueError, match="confidence_penalty_coef=1.0"):
        make_config(name, {"confidence_penalty_coef": 1.0}, scale_rewards="mean")


def test_settings_at_the_ends_are_taken_and_below_are_not():
    for value in (1e-9, 1e12):
        assert make_config("leave_one_out", {"eta": value}).eta == value
    with pytest.raises(ValueError, match="confidence_penalty_coef must be at least 0, got -1.0"):
        make_config("leave_one_out", {"confidence_penalty_coef": -1.0})


def test_the_card_names_what_differs_from_its_default():
    def rows(name, settings, scale_rewards="none"):
        return ESTIMATORS[name](make_config(name, settings, scale_rewards=scale_rewards), None).card_rows()

    assert rows("leave_one_out", {}) == {} and rows("leave_one_out", {"eta": 0.50}) == {"eta": "0.5"}
    settings = {"memory_size": 30000000, "length_scale": 2.0, "score_noise": 0.1}
    assert rows("score_posterior", settings) == {"memory_size": "30000000", "length_scale": "2"}


@pytest.mark.parametrize("name", ["leave_one_out", "score_posterior", "control_variate"])
def test_defaults_are_those_of_the_docs(name):
    """As each setting's docstring has them."""
    documented = {}
    for config_class in ESTIMATORS[name].config_class.__mro__:
        documented |= dict(
            re.findall(r"(\w+) \(`[^`]+`, \*optional\*, defaults to ([\d.]+)\)", config_class.__doc__ or "")
        )
    config = make_config(name, scale_rewards="none")
    assert len(documented) >= 2 and all(getattr(config, key) == float(value) for key, value in documented.items())


def test_what_is_summed_over_processes_is_a_sum():
    class Processes:
        """An accelerator of this process and of one that has three times as much."""

        def reduce(self, tensor, reduction="mean"):
            both = torch.stack([tensor, 3 * tensor])
            return both.sum(0) if reduction == "sum" else both.mean(0)

    context = EstimatorContext({"dice": 1.0}, 2, 1, "batch", Processes(), lambda name, value: None)
    assert context.sum_processes(torch.tensor([1.0, 2.0])).tolist() == [4, 8]
