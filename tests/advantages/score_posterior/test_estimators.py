"""Training with the score posterior and with the control variate."""

import pytest
import torch
from accelerate import Accelerator
from helpers.posterior import Views
from helpers.training import Scenes, assert_no_wait_for_the_device, estimator_settings, logged, train, weights

from rss_hf import RSSConfig
from rss_hf.advantages import EstimatorContext, Progress
from rss_hf.advantages.score_posterior import ScorePosterior
from rss_hf.advantages.score_posterior.config import ScorePosteriorConfig
from rss_hf.advantages.score_posterior.estimator import class_balanced
from rss_hf.advantages.score_posterior.expected_iou import expected_iou_advantages
from rss_hf.policy import PixelPolicy


POSTERIOR = estimator_settings("score_posterior")
CONTROL_VARIATE = {"advantage_estimator": "control_variate"}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"scale_rewards": "batch"}, "needs scale_rewards='none', got 'batch'"),
        ({"num_iterations": 2}, "needs num_iterations=1, got 2"),
        ({"strides": [8, 4]}, r"needs a single stride, got \[8, 4\]"),
        *[
            ({"advantage_estimator_kwargs": {name: value}}, rf"{name}\W* must be .*, got {value}")
            for name, value in {
                "memory_size": 0,
                "length_scale": 0.5,
                "image_correlation": 1.0,
                "score_noise": 0.0,
                "score_range": 0.0,
                "credit_length_scale": 0.0,
                "expected_iou_coef": -1.0,
                "expected_iou_start": 1.5,
                "rare_class_exponent": float("inf"),
                "rare_class_start": -0.5,
            }.items()
        ],
        ({"advantage_estimator_kwargs": {"confidence_penalty_coef": 1.0}}, "has no setting 'confidence_penalty_coef'"),
    ],
)
def test_settings_of_the_score_posterior_are_checked(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        RSSConfig(output_dir=str(tmp_path), use_cpu=True, **POSTERIOR | options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"scale_rewards": "mean"}, "'batch', 'group' or 'none', got 'mean'"),
        ({"strides": [8, 4]}, r"needs a single stride, got \[8, 4\]"),
        ({"advantage_estimator_kwargs": {"memory_size": 0}}, "memory_size must be at least 1, got 0"),
        ({"advantage_estimator_kwargs": {"eta": 0.0}}, "eta must be above 0, got 0"),
        ({"advantage_estimator_kwargs": {"rare_class_exponent": 1}}, "has no setting 'rare_class_exponent'"),
    ],
)
def test_settings_of_the_control_variate_are_checked(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        RSSConfig(output_dir=str(tmp_path), use_cpu=True, **CONTROL_VARIATE | options)


def test_the_control_variate_predicts_rewards_of_images_it_has_scores_of(new_policy, tmp_path):
    """16 images of 64 sites, judged 40 times: in the end most of the variance of their rewards is explained."""
    options = CONTROL_VARIATE | {"max_steps": 80, "optim": "sgd", "learning_rate": 0.0, "logging_steps": 20}
    for rewards in (["pixel_accuracy"], ["running_log_iou", "pixel_accuracy"]):
        trainer = train(new_policy(), tmp_path, reward_funcs=rewards, estimator={"memory_size": 40}, **options)
        first, *_, last = [explained for (explained,) in logged(trainer, "explained_variance")]
        assert first < 0.5 < last < 1


def test_the_control_variate_learns_from_two_numbers_an_image(new_policy, tmp_path):
    options = CONTROL_VARIATE | {"num_samples": 2, "max_steps": 100, "learning_rate": 3e-3}
    trainer = train(new_policy(), tmp_path, reward_funcs=["running_log_iou", "pixel_accuracy"], **options)
    assert trainer.evaluate()["eval_mean_iou"] > 0.8


@pytest.mark.parametrize("num_iterations", [1, 3])
def test_the_control_variate_resumes_with_its_counts(new_policy, tmp_path, num_iterations):
    options = CONTROL_VARIATE | {"reward_funcs": ["running_log_iou"], "max_steps": 6, "optim": "sgd"}
    options |= {"learning_rate": 1.0, "save_strategy": "steps", "save_steps": 3, "num_iterations": num_iterations}
    whole = train(new_policy(), tmp_path, **options)
    resumed = train(new_policy(), tmp_path, resume=str(tmp_path / "checkpoint-3"), **options)
    assert torch.equal(weights(whole), weights(resumed))


def test_rare_classes_are_drawn_from_a_quarter_of_training_on(new_policy, tmp_path):
    """Steps 0 to 4 at 0, 0.2, 0.4, 0.6 and 0.8 of training."""
    options = POSTERIOR | {"reward_funcs": ["pixel_accuracy"], "max_steps": 5}
    plain, rare, at_once = (
        logged(train(new_policy(), tmp_path, estimator=own, **options), "grad_norm", "reward")
        for own in ({}, {"rare_class_exponent": 1.0}, {"rare_class_exponent": 1.0, "rare_class_start": 0.0})
    )
    assert plain[:2] == rare[:2] and plain[2][1] != rare[2][1]
    assert plain[1][0] != at_once[1][0]


def test_the_length_scale_changes_what_is_learned_and_not_what_is_drawn(new_policy, tmp_path):
    options = POSTERIOR | {"reward_funcs": ["pixel_accuracy"], "max_steps": 1}
    near, far = (
        logged(train(new_policy(), tmp_path, estimator={"length_scale": scale}, **options), "grad_norm", "reward")
        for scale in (1.0, 4.0)
    )
    assert far[0][1] == near[0][1] and far[0][0] != pytest.approx(near[0][0], rel=1e-2)


def test_scores_are_turned_into_advantages_with_a_length_scale_of_their_own(new_policy, tmp_path):
    options = POSTERIOR | {"reward_funcs": ["pixel_accuracy"], "max_steps": 1}
    runs = [
        train(new_policy(), tmp_path, estimator={"length_scale": 3.0, "credit_length_scale": own}, **options)
        for own in (None, 3.0, 1.0)
    ]
    ((grad_norm, reward),), same, near = (logged(run, "grad_norm", "reward") for run in runs)
    assert same == [[grad_norm, reward]]
    assert near[0][1] == reward and near[0][0] != pytest.approx(grad_norm, rel=1e-2)


def test_the_expected_iou_is_that_of_the_posterior_whatever_the_advantages_are(new_policy, tmp_path):
    """What it adds to the second of two steps; the first has a rate of 0, so that all runs are alike until then."""
    options = POSTERIOR | {"reward_funcs": ["pixel_accuracy"], "max_steps": 2, "optim": "sgd"}
    options |= {"learning_rate": 1.0, "warmup_steps": 1, "lr_scheduler_type": "constant_with_warmup"}
    far, near = (
        [
            weights(train(new_policy(), tmp_path, estimator=scales | {"expected_iou_coef": coef}, **options))
            for coef in (0.0, 1.0)
        ]
        for scales in ({"length_scale": 3.0}, {"length_scale": 3.0, "credit_length_scale": 1.0})
    )
    assert not torch.allclose(far[0], near[0], rtol=0, atol=1e-5)
    # float32 weights of about 1, rounded twice; what the IoU adds is far larger
    torch.testing.assert_close(far[1] - far[0], near[1] - near[0], rtol=0, atol=1e-6)
    assert (far[1] - far[0]).abs().max() > 1e-4


def test_the_expected_iou_counts_from_the_middle_of_training_on(new_policy, tmp_path):
    """Steps 0, 1 and 2 at 0, 1/3 and 2/3 of training."""
    options = POSTERIOR | {"reward_funcs": ["pixel_accuracy"], "max_steps": 3}
    runs = [train(new_policy(), tmp_path, estimator={"expected_iou_coef": coef}, **options) for coef in (0.0, 1.0)]
    without, with_it = (logged(run, "grad_norm", "reward") for run in runs)
    assert without[:2] == with_it[:2] and without[2][1] == with_it[2][1]
    assert without[2][0] != pytest.approx(with_it[2][0], rel=1e-2)


def test_rewards_and_batches_that_do_not_fit_are_refused(new_policy, tmp_path):
    scenes = Scenes()
    with pytest.raises(ValueError, match="image-level"):
        train(new_policy(), tmp_path, scenes, reward_funcs=["pixel_match"], **POSTERIOR)
    for row in scenes.rows:
        del row["image_positions"]
    with pytest.raises(ValueError, match=r"lacks \['image_positions'\]"):
        train(new_policy(), tmp_path, scenes, reward_funcs=["pixel_accuracy"], **POSTERIOR)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"num_samples": 2}, r"\(16, 24, 4\), and this run has \(16, 24, 2\)"),
        ({"strides": [8]}, r"\(3, 8, 8\) and the policy is of \(3, 4, 4\)"),
    ],
)
def test_judged_maps_of_another_size_are_not_resumed(new_policy, tmp_path, change, message):
    options = POSTERIOR | {"reward_funcs": ["pixel_accuracy"], "save_strategy": "steps", "save_steps": 2}
    train(new_policy(), tmp_path, **options)
    with pytest.raises(ValueError, match=message):
        train(new_policy(), tmp_path, resume=str(tmp_path / "checkpoint-2"), **options | change)


def test_the_score_posterior_learns_from_two_numbers_an_image(new_policy, tmp_path):
    options = POSTERIOR | {"num_samples": 2, "max_steps": 100, "learning_rate": 3e-3, "logging_steps": 20}
    trainer = train(new_policy(), tmp_path, reward_funcs=["pixel_accuracy"], **options)
    assert trainer.evaluate()["eval_mean_iou"] > 0.8


def test_bf16_changes_no_posterior(new_policy, tmp_path):
    """A GPU's autocast leaves the step alone; a CPU's would round the posterior's products."""
    options = POSTERIOR | {"reward_funcs": ["pixel_accuracy"], "max_steps": 1, "bf16": True}
    trainer = train(new_policy(), tmp_path, **options)
    [[grad_norm, entropy]] = logged(trainer, "grad_norm", "entropy")
    [[exact, _]] = logged(train(new_policy(), tmp_path, **options | {"bf16": False}), "grad_norm", "entropy")
    assert grad_norm == pytest.approx(exact, rel=0.05) and entropy > 0


def test_a_step_with_all_settings_never_waits_for_the_device(new_policy, tmp_path):
    settings = {
        "expected_iou_coef": 1.0,
        "expected_iou_start": 0.0,
        "rare_class_exponent": 1.0,
        "rare_class_start": 0.0,
    }
    options = POSTERIOR | {"advantage_estimator_kwargs": settings}
    assert_no_wait_for_the_device(new_policy(), tmp_path, ["pixel_accuracy"], **options)


def test_classes_are_balanced():
    """By as much as the mean of this process, 0.7, 0.3, 0, and another's, 0.1, 0.7, 0.2, say; none may be 0."""
    probs = torch.tensor([[0.9, 0.1, 0.0], [0.5, 0.5, 0.0]]).T[None, :, None]  # (1, 3, 1, 2)
    policy = PixelPolicy(probs.clamp(min=1e-30).log())
    frequency = torch.tensor([0.8, 1.0, 0.2])[:, None, None]
    got = class_balanced(policy, 1.5, lambda own: own + torch.tensor([0.1, 0.7, 0.2]))
    expected = probs / frequency**1.5
    torch.testing.assert_close(got.probs, expected / expected.sum(1, keepdim=True))
    assert class_balanced(policy, 1.0, lambda own: own * 0).probs.isfinite().all()


def make_estimator(batch_size=2, **settings):
    """A score posterior of K = 3 maps, and what it logs."""
    logged = {}
    context = EstimatorContext({"dice": 1.0}, 3, batch_size, "none", Accelerator(cpu=True), logged.__setitem__)
    return ScorePosterior(ScorePosteriorConfig(**settings), context), logged


@pytest.mark.parametrize("by_epoch", [True, False])
@pytest.mark.parametrize("coef", [0.0, 2.0])
def test_weights_are_those_of_the_posterior_of_what_was_judged(coef, by_epoch):
    """Three steps on two images, the second shown in part, with the second of two views being dropped in the last."""
    settings = {"length_scale": 2.0, "image_correlation": 0.3, "score_noise": 0.2, "credit_length_scale": 1.0}
    options = {"score_range": 0.5, "memory_size": 2, "expected_iou_coef": coef, "expected_iou_start": 0.5}
    estimator, logged = make_estimator(**settings, **options)
    batch, kept = Views(2), []
    for step, fraction in enumerate((0.25, 0.5, 0.75)):
        policy, rewards = PixelPolicy(torch.randn(2, 3, 2, 3)), torch.rand(3, 2, 1, 1)
        actions, probs = policy.sample(3), policy.probs
        progress = Progress(fraction, float(step) if by_epoch else None)
        got = estimator.weights(policy, actions, rewards, batch.columns, progress)
        batch.update_prior(probs)
        kept.append((actions, torch.full((2, 3), 0.5), rewards[..., 0, 0]))
        shift, advantages = batch.posterior(kept[-2:], credit=True, **settings)
        torch.testing.assert_close(logged["advantage_std"], advantages.square().mean().sqrt())
        if coef and fraction >= 0.5:
            of_iou = expected_iou_advantages(probs, shift, batch.visible, torch.Tensor.clone)
            advantages = advantages + coef * of_iou
        torch.testing.assert_close(got, advantages / 12)


def test_maps_are_drawn_from_balanced_classes_from_the_start_on():
    policy, noise = PixelPolicy(torch.randn(2, 3, 8, 8)), torch.rand(50, 2, 8, 8)
    estimator, _ = make_estimator(rare_class_exponent=1.0, rare_class_start=0.25)
    plain, balanced = (p.inverse_cdf(noise) for p in (policy, class_balanced(policy, 1.0, torch.Tensor.clone)))
    assert not torch.equal(plain, balanced)
    assert torch.equal(estimator.sample(policy, noise, Progress(0.24)), plain)
    assert torch.equal(estimator.sample(policy, noise, Progress(0.25)), balanced)
    without, _ = make_estimator()
    assert torch.equal(without.sample(policy, noise, Progress(1.0)), plain)


def test_the_memory_goes_into_checkpoints_and_comes_back():
    estimator, _ = make_estimator(memory_size=2)
    assert estimator.state_dict() == {}
    batch, policy = Views(2), PixelPolicy(torch.randn(2, 3, 2, 3))
    assert set(estimator.required_columns) == set(batch.columns)
    step = (policy, policy.sample(3), torch.rand(3, 2, 1, 1), batch.columns)
    estimator.weights(*step, Progress(0.0, 0.0))
    resumed, _ = make_estimator(memory_size=2)
    resumed.load_state_dict({name: part.clone() for name, part in estimator.state_dict().items()})
    expected = estimator.weights(*step, Progress(0.0, 1.0))
    assert torch.equal(resumed.weights(*step, Progress(0.0, 1.0)), expected) and expected.abs().max() > 1e-4
    resumed.load_state_dict({})
    assert resumed.state_dict() == {}
    other, _ = make_estimator(memory_size=3)
    with pytest.raises(ValueError, match=r"\(2, 2, 3\), and this run has \(2, 3, 3\)"):
        other.load_state_dict(estimator.state_dict())


def test_a_policy_or_a_reward_of_another_size_is_refused():
    estimator, _ = make_estimator()
    batch, policy = Views(2), PixelPolicy(torch.randn(2, 3, 2, 3))
    with pytest.raises(ValueError, match="image-level"):
        estimator.weights(policy, policy.sample(3), torch.rand(3, 2, 2, 3), batch.columns, Progress(0.0))
    estimator.weights(policy, policy.sample(3), torch.rand(3, 2, 1, 1), batch.columns, Progress(0.0))
    finer = PixelPolicy(torch.randn(2, 3, 2, 4))
    with pytest.raises(ValueError, match=r"\(3, 2, 3\) and the policy is of \(3, 2, 4\)"):
        estimator.weights(finer, finer.sample(3), torch.rand(3, 2, 1, 1), batch.columns, Progress(0.0))
