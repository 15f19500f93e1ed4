"""Judges in training: their answers are kept, calls are counted as asked, and a budget of them ends a run in order."""

import pytest
import torch
from helpers.judge_server import JudgeServer
from helpers.training import Scenes, logged, stripes_of_class_one, train, weights

from rss_hf import RSSConfig, RSSTrainer
from rss_hf.feedback import FeedbackStore
from rss_hf.judges import per_map


def make_judge(asked):
    @per_map
    def judge(image, class_map, row):
        asked.append((row["id"], class_map.tobytes()))
        return float((class_map == int(row["id"]) % 3).mean())

    return judge


def test_a_killed_and_a_later_run_ask_about_no_map_twice(new_policy, tmp_path):
    """Resumed from a checkpoint older than the last answers; then the same run anew, from the answers alone."""
    asked = []
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "feedback_dir": str(tmp_path / "feedback")}
    whole = train(new_policy(), tmp_path / "a", reward_funcs=[make_judge(asked)], **options)
    count = len(asked)
    assert len(set(asked)) == count == len(FeedbackStore(tmp_path / "feedback"))
    assert logged(whole, "reward_calls")[-1] == [count]
    checkpoint = str(tmp_path / "a/checkpoint-2")
    resumed = train(new_policy(), tmp_path / "a", reward_funcs=[make_judge(asked)], resume=checkpoint, **options)
    again = train(new_policy(), tmp_path / "b", reward_funcs=[make_judge(asked)], **options)
    assert len(asked) == count and logged(again, "reward_calls")[-1] == [0]
    assert torch.equal(weights(whole), weights(resumed)) and torch.equal(weights(whole), weights(again))
    assert logged(resumed, "reward_calls")[-1] == logged(resumed, "reward_calls")[1]  # those of the first two steps


def test_answers_lie_in_the_output_folder_by_default(new_policy, tmp_path):
    asked = []
    trainer = train(new_policy(), tmp_path, max_steps=1, reward_funcs=[make_judge(asked)])
    assert len(FeedbackStore(tmp_path / "feedback")) == len(asked)
    before = trainer.calls.total
    trainer.evaluate()  # asks too, about the most probable and drawn maps of 16 images
    assert trainer.calls.total - before == len(asked) - before > 16


def test_a_server_by_its_url(new_policy, tmp_path):
    with JudgeServer() as server:
        trainer = train(new_policy(), tmp_path, max_steps=2, reward_funcs=server.url)
        assert trainer.rewards.names == ["thirds"] and set(server.asked.values()) == {1}
        assert len(server.asked) == logged(trainer, "reward_calls")[-1][0] == len(FeedbackStore(tmp_path / "feedback"))
    assert logged(trainer, "reward/thirds/seconds")[0][0] > 0


@pytest.mark.parametrize("options", [{}, {"num_iterations": 2, "save_steps": 2}, {"gradient_accumulation_steps": 2}])
def test_a_budget_ends_training_before_it_is_exceeded(new_policy, tmp_path, options, caplog):
    """32 maps a draw, twice as many with two accumulation steps; the checkpoint of the end is of a finished run."""
    draw = 32 * options.get("gradient_accumulation_steps", 1)
    options = {"max_steps": 20, "save_strategy": "steps", "save_steps": 100} | options
    options |= {"reward_funcs": [stripes_of_class_one], "max_reward_calls": 3 * draw + 7}
    trainer = train(new_policy(), tmp_path, **options)
    steps = 3 * options.get("num_iterations", 1)
    assert trainer.state.global_step == steps and trainer.calls.total == 3 * draw
    assert f"{3 * draw} of max_reward_calls={3 * draw + 7} are made" in caplog.text
    again = train(new_policy(), tmp_path, resume=True, **options)
    assert again.state.global_step == steps and torch.equal(weights(again), weights(trainer))
    more = train(new_policy(), tmp_path, resume=True, **options | {"max_reward_calls": 4 * draw})
    assert more.calls.total == 4 * draw


def test_a_budget_below_one_draw_is_refused(new_policy, tmp_path):
    with pytest.raises(ValueError, match="max_reward_calls=31 is less than the 32 maps of a draw"):
        train(new_policy(), tmp_path, max_reward_calls=31, reward_funcs=[stripes_of_class_one])
    with pytest.raises(ValueError, match="max_reward_calls must be at least 1, got 0"):
        RSSConfig(str(tmp_path), max_reward_calls=0)


def test_the_progress_bar_shows_calls(new_policy, tmp_path, capsys):
    train(new_policy(), tmp_path, disable_tqdm=False, max_reward_calls=500, reward_funcs=[stripes_of_class_one])
    shown = capsys.readouterr().err
    assert "calls=96" in shown and "left=404" in shown and "calls/s=" in shown


@pytest.mark.parametrize(
    "reward, message",
    [
        (lambda predictions, areas: areas, r"asks for \['areas'\].*its columns are \['id', 'image_index'\]"),
        (lambda predictions: predictions.float().mean(), r"returned shape \(\); expected .* shape \(4,\)"),
        ("mean_iou", "compares with a reference mask, and the data has none"),
    ],
)
def test_each_reward_is_tried_before_a_step(new_policy, tmp_path, reward, message):
    scenes = Scenes(8, with_labels=False)
    for row in scenes.rows:
        del row["image_positions"]
    trainer = RSSTrainer(
        new_policy(), RSSConfig(str(tmp_path), use_cpu=True), reward_funcs=[reward], train_dataset=scenes
    )
    with pytest.raises(RuntimeError, match=message):
        trainer.train()
    assert trainer.state.global_step == 0 and trainer.optimizer is None


def test_the_trial_changes_no_number_and_asks_no_judge(new_policy, tmp_path, monkeypatch):
    class Random(Scenes):
        def __getitem__(self, i):
            row = super().__getitem__(i)
            return row | {"pixel_values": row["pixel_values"] + 0.1 * torch.randn(3, 32, 32)}

    options = {"reward_funcs": ["running_log_iou"], "max_steps": 2}
    torch.manual_seed(0)
    tried = train(new_policy(), tmp_path / "a", Random(), **options)
    monkeypatch.setattr("rss_hf.training.rss_trainer.try_rewards", lambda *_, **__: None)
    torch.manual_seed(0)
    assert torch.equal(weights(tried), weights(train(new_policy(), tmp_path / "b", Random(), **options)))
