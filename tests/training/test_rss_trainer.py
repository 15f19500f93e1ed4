"""Equivalences of the training step: split over accumulation steps, or stopped and resumed, it is the same step."""

import math

import pytest
import torch
from helpers.training import Scenes, constant, logged, train, weights

from rss_hf import SegmentationTrainer


def test_a_constant_reward_gives_exactly_no_policy_gradient(new_policy, tmp_path, caplog):
    before = torch.cat([p.detach().flatten() for p in new_policy().parameters()])
    trainer = train(new_policy(), tmp_path, reward_funcs=[constant], entropy_coef=0.0, weight_decay=0.0)
    assert torch.equal(weights(trainer), before)
    for loss, grad_norm, zero_std, reward in logged(trainer, "loss", "grad_norm", "frac_zero_std", "reward"):
        assert loss == 0 and grad_norm == 0 and zero_std == 1 and reward == pytest.approx(0.1)
    assert caplog.text.count("same reward: nothing to learn") == 3 and "strides=[4] (PSR)" in caplog.text
    caplog.clear()
    train(new_policy(), tmp_path)
    assert "nothing to learn" not in caplog.text


def test_cross_entropy_accumulates_alike(new_policy, tmp_path):
    """The stock Trainer would return four times the loss here."""
    whole = train(new_policy(), tmp_path, trainer_class=SegmentationTrainer)
    parts = train(
        new_policy(),
        tmp_path,
        trainer_class=SegmentationTrainer,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
    )
    first = [torch.tensor(logged(t, "loss", "grad_norm")) for t in (whole, parts)]
    torch.testing.assert_close(*first, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strides": [16, 8, 4], "stride_warmup": 0.8},
        {"num_iterations": 3, "save_steps": 3, "max_steps": 8},
        {"reward_funcs": ["running_log_iou"]},
    ],
)
def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(new_policy, tmp_path, options):
    options = {"max_steps": 5, "save_strategy": "steps", "save_steps": 1} | options
    whole = train(new_policy(), tmp_path / "whole", **options)
    resumed = train(new_policy(), tmp_path / "whole", resume=str(tmp_path / "whole/checkpoint-3"), **options)
    assert torch.equal(weights(whole), weights(resumed))
    logs = [[entry for entry in run.state.log_history if "loss" in entry] for run in (whole, resumed)]
    assert logs[0] == logs[1] and "reward" in logs[0][0]


def test_the_best_checkpoint_is_loaded_at_the_end(new_policy, tmp_path):
    """All of it: also the parameters that transformers renames on disk."""
    options = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1, "max_steps": 4}
    options |= {"load_best_model_at_end": True, "metric_for_best_model": "eval_mean_iou", "learning_rate": 0.02}
    trainer = train(new_policy(), tmp_path, **options)
    best = type(trainer.model).from_pretrained(trainer.state.best_model_checkpoint)
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, best.state_dict()[name]), name
    assert trainer.evaluate()["eval_mean_iou"] == trainer.state.best_metric


def test_what_is_logged(new_policy, tmp_path):
    trainer = train(
        new_policy(),
        tmp_path,
        reward_funcs=["mean_iou", "pixel_match", constant],
        reward_weights=[2.0, 0.5, 1.0],
    )
    for step, entry in enumerate([e for e in trainer.state.log_history if "loss" in e], start=1):
        total = 2 * entry["reward/mean_iou/mean"] + 0.5 * entry["reward/pixel_match/mean"] + 0.1
        assert entry["reward"] == pytest.approx(total, rel=1e-5)
        assert entry["grid"] == 64 and entry["stride"] == 4 and entry["frac_zero_std"] == 0
        assert entry["reward_calls"] == step * 4 * 8
        assert 0 < entry["entropy"] <= math.log(3) and entry["reward_std"] > 0 and entry["advantage_std"] > 0
        assert entry["reward/constant/std"] == 0


def test_plain_reinforce_reinforces_the_one_sample_by_its_reward(new_policy, tmp_path):
    """A constant reward, which a baseline would take away, moves it: the gradient is that of -0.1 log pi(a)."""
    options = {"advantage_estimator": "reinforce", "num_samples": 1, "scale_rewards": "none", "entropy_coef": 0.0}
    trainer = train(new_policy(), tmp_path, reward_funcs=[constant], max_steps=1, **options)
    [[loss, grad_norm, std]] = logged(trainer, "loss", "grad_norm", "reward_std")
    assert loss == pytest.approx(-0.1) and grad_norm > 0 and math.isnan(std)


def test_confidence_is_taken_off_what_is_learned_from_and_not_off_what_is_logged(new_policy, tmp_path):
    """A constant reward then teaches one thing: less confidence."""
    options = {
        "reward_funcs": [constant],
        "entropy_coef": 0.0,
        "estimator": {"confidence_penalty_coef": 1.0},
        "weight_decay": 0.0,
    }
    model = new_policy()
    torch.nn.init.constant_(model.decode_head.classifier.bias[:1], 2.0)  # rather sure of class 0
    trainer = train(model, tmp_path, max_steps=20, num_samples=32, learning_rate=1e-2, **options)
    (reward, first, entropy), *_, (_, last, later) = logged(trainer, "reward", "confidence", "entropy")
    assert reward == pytest.approx(0.1) and first > 0.5 and last < 0.4 and later > entropy


def test_as_much_confidence_is_taken_off_as_was_asked_for(new_policy, tmp_path):
    """One sample without a baseline: the loss is minus what is left of its reward, in float32."""
    options = {"advantage_estimator": "reinforce", "num_samples": 1, "scale_rewards": "none", "entropy_coef": 0.0}
    trainer = train(
        new_policy(), tmp_path, reward_funcs=[constant], estimator={"confidence_penalty_coef": 0.5}, **options
    )
    for loss, confidence in logged(trainer, "loss", "confidence"):
        assert 0 < confidence < 1 and loss == pytest.approx(0.5 * confidence - 0.1, rel=1e-4)


def test_images_without_valid_pixels_teach_nothing(new_policy, tmp_path):
    trainer = train(new_policy(), tmp_path, Scenes(8, empty=range(8)), entropy_coef=0.0, weight_decay=0.0)
    assert torch.equal(weights(trainer), torch.cat([p.detach().flatten() for p in new_policy().parameters()]))
    assert all(math.isnan(reward) and grad_norm == 0 for reward, grad_norm in logged(trainer, "reward", "grad_norm"))


@pytest.mark.parametrize("reward", ["mean_iou", "pixel_match"])
def test_it_learns(new_policy, tmp_path, reward):
    trainer = train(
        new_policy(),
        tmp_path,
        reward_funcs=[reward],
        max_steps=100,
        learning_rate=3e-3,
        entropy_coef=1.0,
        logging_steps=20,
    )
    assert trainer.evaluate()["eval_mean_iou"] > 0.8


def test_bf16_and_gradient_checkpointing_run(new_policy, tmp_path):
    trainer = train(new_policy(), tmp_path, bf16=True, gradient_checkpointing=True, learning_rate=1e-2)
    assert all(math.isfinite(loss) and grad_norm > 0 for loss, grad_norm in logged(trainer, "loss", "grad_norm"))
