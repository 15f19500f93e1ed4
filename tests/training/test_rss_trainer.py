"""Equivalences of the training step: split over accumulation steps, or stopped and resumed, it is the same step."""

import math

import pytest
import torch
from helpers.training import CRITIC, Scenes, logged, train, weights
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from rss_hf import RSSConfig, RSSTrainer, SegmentationTrainer


def constant(predictions, references=None, **columns):
    return torch.full((len(predictions),), 0.1)


def stripes_of_class_one(predictions, references=None, pixel_values=None, **columns):
    """Looks at the images alone, never at labels."""
    return ((predictions == 1) == (pixel_values.argmax(1) == 1)).float().mean((1, 2))


def test_a_constant_reward_gives_exactly_no_policy_gradient(new_policy, tmp_path, caplog):
    before = torch.cat([p.detach().flatten() for p in new_policy().parameters()])
    trainer = train(new_policy(), tmp_path, reward_funcs=[constant], entropy_coef=0.0, weight_decay=0.0)
    assert torch.equal(weights(trainer), before)
    for loss, grad_norm, zero_std, reward in logged(trainer, "loss", "grad_norm", "frac_zero_std", "reward"):
        assert loss == 0 and grad_norm == 0 and zero_std == 1 and reward == pytest.approx(0.1)
    assert caplog.text.count("same reward: nothing to learn") == 3 and "scales=[4] (PSR)" in caplog.text
    caplog.clear()
    train(new_policy(), tmp_path)
    assert "nothing to learn" not in caplog.text


@pytest.mark.parametrize("options", [{}, CRITIC, {"credit": "control_variate"}])
def test_labels_reach_the_reward_and_nothing_else(new_policy, tmp_path, options):
    """Permuted, voided or absent, labels that the reward ignores change no weight."""
    results = []
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


@pytest.mark.parametrize("over", ["none", "group"])
@pytest.mark.parametrize("credit", ["leave_one_out", "psd", "coupled"])
def test_one_step_of_8_equals_4_accumulated_of_2(new_policy, tmp_path, over, credit):
    """With what looks at one image at a time; `batch_log_iou` and SyncAN look at the images of one forward pass."""
    options = {"advantage_normalization": over, "credit": credit, "reward_funcs": ["mean_iou"]}
    whole = train(new_policy(), tmp_path, **options)
    parts = train(new_policy(), tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, **options)
    names = ("loss", "grad_norm", "reward", "entropy", "reward_queries")
    # float32 sums in another order; the easy fault, a loss four times too large, is far outside.
    torch.testing.assert_close(
        torch.tensor(logged(whole, *names)), torch.tensor(logged(parts, *names)), rtol=2e-3, atol=1e-6
    )


@pytest.mark.parametrize("credit", ["critic", "control_variate"])
def test_the_critic_accumulates_alike(new_policy, tmp_path, credit):
    """Over two epochs: each image by itself, whatever came with it."""
    options = CRITIC | {"credit": credit, "reward_funcs": ["pixel_accuracy"], "max_steps": 4}
    options |= {"optim": "sgd", "learning_rate": 1.0}
    whole = train(new_policy(), tmp_path, **options)
    parts = train(new_policy(), tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, **options)
    torch.testing.assert_close(weights(whole), weights(parts), rtol=2e-3, atol=1e-5)
    first = [torch.tensor(logged(run, "grad_norm", "reward", "entropy")) for run in (whole, parts)]
    torch.testing.assert_close(*first, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"advantage_normalization": "batch"}, {"confidence_coef": 0.0}, {"num_iterations": 2}, {"scales": [8, 4]}]
    + [
        {"critic_visits": 0},
        {"critic_reach": [0.5]},
        {"critic_reach": [1.0, 2.0, 4.0]},
        {"critic_shared": 1.0},
        {"credit_reach": 0.0},
        {"expected_iou_coef": -1.0},
        {"exploration_coef": -1.0},
    ],
)
def test_the_critic_cannot_be_asked_so(options, tmp_path):
    with pytest.raises(ValueError, match=f"needs {next(iter(options))}"):
        RSSConfig(output_dir=str(tmp_path), use_cpu=True, **CRITIC | options)


@pytest.mark.parametrize(
    "name, value",
    [
        ("critic_reach", [1.5]),
        ("critic_shared", 1.5),
        ("credit_reach", 1.5),
        ("expected_iou_coef", 1.5),
        ("exploration_coef", 1.5),
    ],
)
def test_what_is_the_critics_needs_a_critic(name, value, tmp_path):
    with pytest.raises(ValueError, match=rf"{name}=\[?1.5\]? .* needs credit=.*'critic', not 'leave_one_out'"):
        RSSConfig(output_dir=str(tmp_path), use_cpu=True, **{name: value})


@pytest.mark.parametrize("options", [{"advantage_normalization": "mean"}, {"scales": [8, 4]}, {"critic_visits": 0}])
def test_the_control_variate_cannot_be_asked_so(options, tmp_path):
    with pytest.raises(ValueError, match=f"credit='control_variate' needs {next(iter(options))}"):
        RSSConfig(output_dir=str(tmp_path), use_cpu=True, **{"credit": "control_variate"} | options)
    with pytest.raises(ValueError, match="exploration_coef=1 .* needs credit='critic', not 'control_variate'"):
        RSSConfig(output_dir=str(tmp_path), use_cpu=True, credit="control_variate", exploration_coef=1)


def test_the_control_variate_foresees_rewards_it_has_seen_scored(new_policy, tmp_path):
    """16 images of 64 sites, judged 40 times: in the end most of what their maps differ by is expected."""
    options = {"credit": "control_variate", "critic_visits": 40, "max_steps": 80, "optim": "sgd", "learning_rate": 0.0}
    for rewards in (["pixel_accuracy"], ["running_log_iou", "pixel_accuracy"]):
        trainer = train(new_policy(), tmp_path, reward_funcs=rewards, logging_steps=20, **options)
        first, *_, last = [explained for (explained,) in logged(trainer, "explained_variance")]
        assert first < 0.5 < last < 1


def test_the_control_variate_learns_from_two_numbers_an_image(new_policy, tmp_path):
    options = {"credit": "control_variate", "num_samples": 2, "max_steps": 100, "learning_rate": 3e-3}
    trainer = train(new_policy(), tmp_path, reward_funcs=["running_log_iou", "pixel_accuracy"], **options)
    assert trainer.evaluate()["eval_mean_iou"] > 0.8


@pytest.mark.parametrize("num_iterations", [1, 3])
def test_the_control_variate_resumes_as_it_was(new_policy, tmp_path, num_iterations):
    """What was judged and counted before is in the checkpoint."""
    options = {"credit": "control_variate", "reward_funcs": ["running_log_iou"], "max_steps": 6, "optim": "sgd"}
    options |= {"learning_rate": 1.0, "save_strategy": "steps", "save_steps": 3, "num_iterations": num_iterations}
    whole = train(new_policy(), tmp_path, **options)
    resumed = train(new_policy(), tmp_path, resume=str(tmp_path / "checkpoint-3"), **options)
    assert torch.equal(weights(whole), weights(resumed))


def test_the_critic_looks_further_and_for_rare_classes_when_it_knows_some(new_policy, tmp_path):
    """Steps 0 to 4 at 0, 0.2, 0.4, 0.6 and 0.8 of training: nothing changes before a quarter."""
    options = CRITIC | {"reward_funcs": ["pixel_accuracy"], "max_steps": 5, "logging_steps": 1}
    plain, further, exploring, far = (
        logged(train(new_policy(), tmp_path, **options | own), "grad_norm", "reward")
        for own in ({}, {"critic_reach": [1.0, 4.0]}, {"exploration_coef": 1.0}, {"critic_reach": [4.0]})
    )
    assert plain[:2] == further[:2] == exploring[:2]
    assert further[2][1] == plain[2][1] != exploring[2][1]  # the maps are the policy's, what they teach is not
    assert further[2][0] != pytest.approx(plain[2][0], rel=1e-2)
    assert far[0][1] == plain[0][1] and far[0][0] != pytest.approx(plain[0][0], rel=1e-2)  # from the first step on


def test_credit_is_spread_by_a_reach_of_its_own(new_policy, tmp_path):
    options = CRITIC | {"reward_funcs": ["pixel_accuracy"], "max_steps": 1, "logging_steps": 1, "critic_reach": [3.0]}
    runs = [train(new_policy(), tmp_path, credit_reach=reach, **options) for reach in (None, 3.0, 1.0)]
    ((grad_norm, reward),), same, near = (logged(run, "grad_norm", "reward") for run in runs)
    assert same == [[grad_norm, reward]]
    assert near[0][1] == reward and near[0][0] != pytest.approx(grad_norm, rel=1e-2)


def test_the_iou_is_expected_of_what_is_believed_wherever_credit_goes(new_policy, tmp_path):
    """What it adds to the second of two steps; the first has a rate of 0, so that all runs are alike until then."""
    options = CRITIC | {"reward_funcs": ["pixel_accuracy"], "max_steps": 2, "critic_reach": [3.0], "optim": "sgd"}
    options |= {"learning_rate": 1.0, "warmup_steps": 1, "lr_scheduler_type": "constant_with_warmup"}
    far, near = (
        [
            weights(train(new_policy(), tmp_path, credit_reach=reach, expected_iou_coef=c, **options))
            for c in (0.0, 1.0)
        ]
        for reach in (None, 1.0)
    )
    assert not torch.allclose(far[0], near[0], rtol=0, atol=1e-5)
    # float32 weights of about 1, rounded twice; what the IoU adds is far larger
    torch.testing.assert_close(far[1] - far[0], near[1] - near[0], rtol=0, atol=1e-6)
    assert (far[1] - far[0]).abs().max() > 1e-4


def test_the_iou_that_the_critic_expects_counts_in_the_second_half(new_policy, tmp_path):
    options = CRITIC | {"reward_funcs": ["pixel_accuracy"], "max_steps": 3, "logging_steps": 1}
    runs = [train(new_policy(), tmp_path, expected_iou_coef=coef, **options) for coef in (0.0, 1.0)]
    without, with_it = (logged(run, "grad_norm", "reward") for run in runs)
    assert without[:2] == with_it[:2] and without[2][1] == with_it[2][1]  # steps 0 and 1 of 3, and what the last drew
    assert without[2][0] != pytest.approx(with_it[2][0], rel=1e-2)


def test_the_critic_says_what_it_lacks(new_policy, tmp_path):
    scenes = Scenes()
    with pytest.raises(ValueError, match="image-level"):
        train(new_policy(), tmp_path, scenes, reward_funcs=["pixel_match"], **CRITIC)
    for row in scenes.rows:
        del row["image_positions"]
    with pytest.raises(ValueError, match=r"lacks \['image_positions'\]"):
        train(new_policy(), tmp_path, scenes, reward_funcs=["pixel_accuracy"], **CRITIC)


def test_a_memory_of_another_size_is_not_resumed(new_policy, tmp_path):
    options = CRITIC | {"reward_funcs": ["pixel_accuracy"], "save_strategy": "steps", "save_steps": 3}
    train(new_policy(), tmp_path, **options)
    with pytest.raises(ValueError, match=r"\(16, 24, 4\), and this run has \(16, 24, 2\)"):
        train(new_policy(), tmp_path, resume=str(tmp_path / "checkpoint-3"), **options | {"num_samples": 2})


def test_the_critic_learns_from_two_numbers_an_image(new_policy, tmp_path):
    options = CRITIC | {"num_samples": 2, "max_steps": 100, "learning_rate": 3e-3, "logging_steps": 20}
    trainer = train(new_policy(), tmp_path, reward_funcs=["pixel_accuracy"], **options)
    assert trainer.evaluate()["eval_mean_iou"] > 0.8


def test_samples_are_judged_once_for_several_steps(new_policy, tmp_path):
    """Two epochs of 2 batches, 3 steps each; with accumulation too, the same as without."""
    judged = []

    def agreement(predictions, references=None, id=None, **columns):
        judged.append(id[: len(id) // 4])  # K = 4 predictions an image
        return (predictions == references).float().mean((1, 2))

    runs = []
    for options in ({}, {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}):
        judged.clear()
        options = {"num_iterations": 3, "max_steps": 12, "advantage_normalization": "none", "optim": "sgd"} | options
        runs.append(train(new_policy(), tmp_path, reward_funcs=[agreement], learning_rate=30.0, **options))
        rows = sum(judged, [])
        assert sorted(rows[:16], key=int) == sorted(rows[16:], key=int) == [str(n) for n in range(16)]
        assert rows[:16] != rows[16:]
    queries, entropy, grad_norm = zip(*logged(runs[0], "reward_queries", "entropy", "grad_norm"), strict=True)
    assert list(queries) == [4 * 8 * draw for draw in (1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4)]
    assert len(set(entropy)) == 12 and min(grad_norm) > 0  # the reused samples still move it
    torch.testing.assert_close(weights(runs[0]), weights(runs[1]), rtol=2e-3, atol=1e-5)


def test_reused_samples_of_an_image_without_reward_teach_nothing(new_policy, tmp_path):
    """Where all of it is void there is nothing to learn, nor to hold on to as the policy moves on other images."""
    options = {"reward_funcs": ["mean_iou"], "per_device_train_batch_size": 16, "num_iterations": 2}
    trainer = train(new_policy(), tmp_path, Scenes(empty=range(4)), max_steps=2, optim="sgd", **options)
    experience = trainer._experiences[-1]
    silent = (experience.weights == 0).flatten(1).all(1)
    moved = experience.credit(torch.randn(4, 16, 1, 1))
    assert silent.sum() == 4
    assert (moved[:, silent] == 0).all() and (moved[:, ~silent] != 0).any()


@pytest.mark.parametrize("options", [{"num_iterations": 0}, {"eta": 0.0}, {"num_iterations": 3, "save_steps": 100}])
def test_samples_cannot_be_reused_so(options, tmp_path):
    with pytest.raises(ValueError, match="num_iterations"):
        RSSConfig(output_dir=str(tmp_path), use_cpu=True, **options)


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
        {"scales": [16, 8, 4], "scale_schedule": "policy"},
        {"credit": "coupled"},
        {"num_iterations": 3, "save_steps": 3, "max_steps": 8},
        {"reward_funcs": ["running_log_iou"]},
        CRITIC | {"critic_visits": 2},
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
        assert entry["reward_queries"] == step * 4 * 8
        assert 0 < entry["entropy"] <= math.log(3) and entry["reward_std"] > 0 and entry["advantage_std"] > 0
        assert entry["reward/constant/std"] == 0


def test_plain_reinforce_reinforces_the_one_sample_by_its_reward(new_policy, tmp_path):
    """A constant reward, which a baseline would take away, moves it: the gradient is that of -0.1 log pi(a)."""
    options = {"credit": "none", "num_samples": 1, "advantage_normalization": "none", "entropy_coef": 0.0}
    trainer = train(new_policy(), tmp_path, reward_funcs=[constant], max_steps=1, **options)
    [[loss, grad_norm, std]] = logged(trainer, "loss", "grad_norm", "reward_std")
    assert loss == pytest.approx(-0.1) and grad_norm > 0 and math.isnan(std)


def test_confidence_is_taken_off_what_is_learned_from_and_not_off_what_is_logged(new_policy, tmp_path):
    """A constant reward then teaches one thing: less confidence."""
    options = {"reward_funcs": [constant], "entropy_coef": 0.0, "confidence_coef": 1.0, "weight_decay": 0.0}
    model = new_policy()
    torch.nn.init.constant_(model.decode_head.classifier.bias[:1], 2.0)  # rather sure of class 0
    trainer = train(model, tmp_path, max_steps=20, num_samples=32, learning_rate=1e-2, **options)
    (reward, first, entropy), *_, (_, last, later) = logged(trainer, "reward", "confidence", "entropy")
    assert reward == pytest.approx(0.1) and first > 0.5 and last < 0.4 and later > entropy


def test_as_much_confidence_is_taken_off_as_was_asked_for(new_policy, tmp_path):
    """One sample without a baseline: the loss is minus what is left of its reward, in float32."""
    options = {"credit": "none", "num_samples": 1, "advantage_normalization": "none", "entropy_coef": 0.0}
    trainer = train(new_policy(), tmp_path, reward_funcs=[constant], confidence_coef=0.5, **options)
    for loss, confidence in logged(trainer, "loss", "confidence"):
        assert 0 < confidence < 1 and loss == pytest.approx(0.5 * confidence - 0.1, rel=1e-4)


@pytest.mark.parametrize(
    "options", [{"confidence_coef": -1.0}, {"confidence_coef": 1.0, "advantage_normalization": "mean"}]
)
def test_confidence_cannot_be_taken_off_so(options, tmp_path):
    with pytest.raises(ValueError, match="confidence_coef"):
        RSSConfig(output_dir=str(tmp_path), **options)


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


@pytest.mark.parametrize("credit", ["leave_one_out", "psd", "coupled", "critic", "control_variate"])
def test_a_step_never_waits_for_the_device(new_policy, tmp_path, credit):
    """Fake tensors hold no values: `.item()`, `.cpu()` or a shape that depends on values would raise."""
    options = {"num_iterations": 2, "confidence_coef": 1.0, "credit": credit}
    rewards = ["batch_log_iou", "mean_iou", "pixel_match", stripes_of_class_one]
    if credit == "critic":
        options, rewards = CRITIC | {"expected_iou_coef": 1.0, "exploration_coef": 1.0}, ["pixel_accuracy"]
    if credit == "control_variate":
        rewards = ["running_log_iou", stripes_of_class_one]
    args = RSSConfig(output_dir=str(tmp_path), use_cpu=True, **options)
    trainer = RSSTrainer(model=new_policy(), args=args, reward_funcs=rewards, train_dataset=Scenes())
    with FakeTensorMode(allow_non_fake_inputs=True):
        inputs = {"pixel_values": torch.randn(4, 3, 32, 32), "labels": torch.zeros(4, 32, 32, dtype=torch.int64)}
        inputs |= {"image_index": torch.arange(4), "image_positions": torch.zeros(4, 32, 32, dtype=torch.int64)}
        for trainer.state.global_step in range(2):  # one that draws samples, one that goes on with them
            trainer.compute_loss(trainer.model, inputs).backward()
        with pytest.raises(DataDependentOutputException):
            inputs["labels"].sum().item()
