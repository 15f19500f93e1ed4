"""What holds for every advantage estimator: the wall, accumulation, resuming, no waiting for the device."""

import pytest
import torch
from helpers.training import (
    Scenes,
    assert_no_wait_for_the_device,
    constant,
    estimator_settings,
    logged,
    stripes_of_class_one,
    train,
    weights,
)

from rss_hf import RSSConfig
from rss_hf.advantages import ESTIMATORS


every_estimator = pytest.mark.parametrize("name", list(ESTIMATORS))


@every_estimator
def test_labels_reach_the_reward_and_nothing_else(new_policy, tmp_path, name):
    """Permuted, voided or absent, labels that the reward ignores change no weight."""
    results, options = [], estimator_settings(name)
    for change in ("as they are", "permuted", "all void", "absent"):
        scenes = Scenes(with_labels=change != "absent")
        for row in scenes.rows:
            if change == "permuted":
                row["labels"] = torch.where(row["labels"] == 255, 255, (row["labels"] + 1) % 3)
            if change == "all void":
                row["labels"] = torch.full_like(row["labels"], 255)
        results.append(weights(train(new_policy(), tmp_path, scenes, [stripes_of_class_one], **options)))
    for result in results[1:]:
        assert torch.equal(result, results[0])
    permuted = Scenes()
    for row in permuted.rows:
        row["labels"] = torch.where(row["labels"] == 255, 255, (row["labels"] + 1) % 3)
    both = (Scenes(), permuted)
    seen = [weights(train(new_policy(), tmp_path, scenes, ["pixel_accuracy"], **options)) for scenes in both]
    assert not torch.equal(*seen)


@every_estimator
def test_one_step_of_8_equals_4_accumulated_of_2(new_policy, tmp_path, name):
    """Over two epochs, each image by itself, whatever came with it; with what looks at one image at a time."""
    options = estimator_settings(name) | {"reward_funcs": ["pixel_accuracy"], "max_steps": 4}
    options |= {"optim": "sgd", "learning_rate": 1.0}
    whole = train(new_policy(), tmp_path, **options)
    parts = train(new_policy(), tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, **options)
    torch.testing.assert_close(weights(whole), weights(parts), rtol=2e-3, atol=1e-5)
    names = ("loss", "grad_norm", "reward", "entropy", "reward_calls")
    # float32 sums in another order; the easy fault, a loss four times too large, is far outside.
    torch.testing.assert_close(
        torch.tensor(logged(whole, *names)), torch.tensor(logged(parts, *names)), rtol=2e-3, atol=1e-6
    )


@pytest.mark.parametrize("name", ["leave_one_out", "pairwise_spatial_difference"])
def test_accumulation_changes_no_step_scaled_by_group(new_policy, tmp_path, name):
    options = {"scale_rewards": "group", "advantage_estimator": name, "reward_funcs": ["mean_iou"]}
    whole = train(new_policy(), tmp_path, **options)
    parts = train(new_policy(), tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, **options)
    names = ("loss", "grad_norm", "reward", "entropy", "reward_calls")
    torch.testing.assert_close(
        torch.tensor(logged(whole, *names)), torch.tensor(logged(parts, *names)), rtol=2e-3, atol=1e-6
    )


@every_estimator
def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(new_policy, tmp_path, name):
    """Five steps of two an epoch: images come again."""
    options = estimator_settings(name) | {"max_steps": 5, "save_strategy": "steps", "save_steps": 1}
    whole = train(new_policy(), tmp_path, reward_funcs=["mean_iou"], **options)
    checkpoint = str(tmp_path / "checkpoint-3")
    resumed = train(new_policy(), tmp_path, reward_funcs=["mean_iou"], resume=checkpoint, **options)
    assert torch.equal(weights(whole), weights(resumed))
    logs = [[entry for entry in run.state.log_history if "loss" in entry] for run in (whole, resumed)]
    assert logs[0] == logs[1] and "reward" in logs[0][0]


@every_estimator
def test_a_step_never_waits_for_the_device(new_policy, tmp_path, name):
    rewards = ["running_log_iou", "mean_iou"]
    assert_no_wait_for_the_device(new_policy(), tmp_path, rewards, **estimator_settings(name))


def test_a_reused_step_with_a_pixel_level_reward_never_waits_for_the_device(new_policy, tmp_path):
    rewards = ["batch_log_iou", "mean_iou", "pixel_match"]
    options = {"num_iterations": 2, "advantage_estimator_kwargs": {"confidence_penalty_coef": 1.0}}
    assert_no_wait_for_the_device(new_policy(), tmp_path, rewards, **options)


@pytest.mark.parametrize("name", ["leave_one_out", "pairwise_spatial_difference"])
def test_a_constant_reward_teaches_nothing(new_policy, tmp_path, name):
    """What is compared with nothing but other samples moves no weight where they are equal."""
    options = estimator_settings(name) | {"weight_decay": 0.0}
    trainer = train(new_policy(), tmp_path, reward_funcs=[constant], **options)
    assert torch.equal(weights(trainer), torch.cat([p.detach().flatten() for p in new_policy().parameters()]))


@every_estimator
def test_misspelled_settings_are_refused_with_the_nearest(name, tmp_path):
    setting = next(iter(ESTIMATORS[name].config_class.__dataclass_fields__))
    options = estimator_settings(name) | {"advantage_estimator_kwargs": {setting + "s": 1}}
    with pytest.raises(ValueError, match=f"no setting '{setting}s'.*Did you mean '{setting}'"):
        RSSConfig(output_dir=str(tmp_path), **options)
