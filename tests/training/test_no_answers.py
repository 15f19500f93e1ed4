"""Images and steps without an answer teach nothing, and a judge that stays silent ends the run with a checkpoint."""

import math

import pytest
import torch
from helpers.training import Scenes, logged, stripes_of_class_one, train, weights

from rss_hf import RSSConfig, RSSTrainer
from rss_hf.advantages import ESTIMATORS


def dies(at_step):
    """A judge that answers up to a step, and then no more."""

    def judge(predictions, pixel_values, trainer_state=None, **columns):
        answers = stripes_of_class_one(predictions, pixel_values=pixel_values)
        return answers if trainer_state.global_step < at_step else [None] * len(answers)

    return judge


@pytest.mark.parametrize("num_iterations", [1, 2])
def test_steps_without_an_answer_move_no_weight(new_policy, tmp_path, num_iterations, caplog):
    """Neither by the entropy bonus nor by weight decay or the optimizer's momentum."""
    settings = {"num_iterations": num_iterations, "weight_decay": 0.1, "entropy_coef": 1.0}
    settings |= {"lr_scheduler_type": "constant", "learning_rate": 1e-2}
    answered = train(new_policy(), tmp_path / "2", max_steps=2, reward_funcs=[dies(2)], **settings)
    silent = train(new_policy(), tmp_path / "6", max_steps=6, reward_funcs=[dies(2)], **settings)
    start = torch.cat([parameter.detach().flatten() for parameter in new_policy().parameters()])
    assert not torch.equal(weights(answered), start)
    assert silent.state.global_step == 6
    # entropy_coef falls with max_steps, which differ: compare with a run that has the same, seen after two steps
    seen = []

    class Seen(RSSTrainer):
        def log(self, logs, start_time=None):
            seen.append(weights(self))
            super().log(logs, start_time)

    train(new_policy(), tmp_path / "s", max_steps=6, reward_funcs=[dies(2)], trainer_class=Seen, **settings)
    assert not torch.equal(seen[0], start) and not torch.equal(seen[1], seen[0])
    assert all(torch.equal(later, seen[1]) for later in seen[2:]) and torch.equal(seen[-1], weights(silent))
    missing = [entry["reward/judge/missing"] for entry in silent.state.log_history if "reward/judge/missing" in entry]
    assert missing == ([0, 0, 1, 1, 1, 1] if num_iterations == 1 else [0, 1, 1])
    assert math.isnan([entry["reward"] for entry in silent.state.log_history if "reward" in entry][-1])
    assert "no map got a reward" in caplog.text


def test_a_step_is_taken_where_any_part_of_its_batch_was_answered(new_policy, tmp_path):
    """Two accumulation steps, of which the second is not answered."""
    calls = []

    def every_other(predictions, pixel_values, **columns):
        calls.append(len(predictions))
        return [None] * len(predictions) if len(calls) % 2 == 0 else [0.0, 1.0] * (len(predictions) // 2)

    trainer = train(new_policy(), tmp_path, max_steps=1, reward_funcs=[every_other], gradient_accumulation_steps=2)
    assert len(calls) >= 2 and logged(trainer, "reward/every_other/missing") == [[0.5]]
    start = torch.cat([parameter.detach().flatten() for parameter in new_policy().parameters()])
    assert not torch.equal(weights(trainer), start)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_image_without_an_answer_has_no_gradient(new_policy, tmp_path, name):
    def half(predictions, pixel_values, id, **columns):
        answers = stripes_of_class_one(predictions, pixel_values=pixel_values)
        return [answer if int(i) % 2 else None for answer, i in zip(answers.tolist(), id, strict=True)]

    args = RSSConfig(
        str(tmp_path), use_cpu=True, report_to="none", num_samples=4, advantage_estimator=name, scale_rewards="none"
    )
    scenes = Scenes(6)
    trainer = RSSTrainer(new_policy(), args, reward_funcs=half, train_dataset=scenes)
    loss, outputs = trainer.compute_loss(trainer.model, trainer.data_collator(scenes.rows), return_outputs=True)
    (gradient,) = torch.autograd.grad(loss, outputs.logits)
    size = gradient.abs().amax((1, 2, 3))
    assert (size[0::2] == 0).all() and (size[1::2] > 0).all()


def test_a_silent_judge_ends_the_run_with_a_checkpoint(new_policy, tmp_path):
    settings = {"max_steps": 20, "save_strategy": "steps", "save_steps": 100}
    with pytest.raises(RuntimeError, match=r"\['judge'\] gave no answer .* in 10 draws of 4 maps .* step 13"):
        train(new_policy(), tmp_path, reward_funcs=[dies(3)], **settings)
    resumed = train(new_policy(), tmp_path, reward_funcs=[dies(100)], resume=True, **settings)
    assert resumed.state.global_step == 20
    [first, *_] = [entry["step"] for entry in resumed.state.log_history if "loss" in entry and entry["step"] > 13]
    assert first == 14
