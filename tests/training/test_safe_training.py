"""Nothing that was trained is lost, wherever a run is killed, and nothing broken is saved."""

import logging
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from helpers.training import Scenes, estimator_settings, logged, train, weights
from safetensors.torch import load_file
from transformers import Trainer, TrainerCallback
from transformers.utils import logging as transformers_logging

from rss_hf import RSSConfig, RSSTrainer
from rss_hf.training.checkpoints import MANIFEST, DamagedCheckpoint, check_checkpoint, find_checkpoint
from rss_hf.training.safe_training import WRITING


SAVING = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2}


@pytest.fixture
def warnings(caplog):
    """What is warned of."""
    transformers_logging.enable_propagation()
    with caplog.at_level(logging.WARNING):
        yield lambda: caplog.text
    transformers_logging.disable_propagation()


@pytest.fixture
def run(new_policy, tmp_path):
    """A run of 6 steps with 3 checkpoints, and its final weights."""
    settings = estimator_settings("score_posterior") | SAVING
    return tmp_path, weights(train(new_policy(), tmp_path, reward_funcs=["running_log_iou"], **settings))


def resume(new_policy, output_dir, checkpoint=True, **changes):
    settings = estimator_settings("score_posterior") | SAVING | changes
    return train(new_policy(), output_dir, reward_funcs=["running_log_iou"], resume=checkpoint, **settings)


@pytest.mark.parametrize("left", ["an empty folder", "a model and no more", "all but the sums"])
def test_what_was_not_written_to_the_end_is_skipped(new_policy, run, warnings, left):
    output_dir, expected = run
    last = output_dir / "checkpoint-6"
    for path in sorted(last.iterdir()):
        if left == "an empty folder" or path.name == MANIFEST or (left[0:7] == "a model" and "model" not in path.name):
            path.unlink()
    assert find_checkpoint(output_dir) == str(output_dir / "checkpoint-4")
    assert "checkpoint-6 is skipped" in warnings() and f"it has no {MANIFEST}" in warnings()
    assert torch.equal(weights(resume(new_policy, output_dir)), expected)
    check_checkpoint(last)


def test_every_missing_or_changed_file_is_found(run, new_policy, warnings):
    output_dir, expected = run
    kept = output_dir / "kept"
    shutil.copytree(output_dir / "checkpoint-6", kept)
    names = sorted(path.name for path in kept.iterdir() if path.name != MANIFEST)
    assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"} < set(names)
    assert {"reward_state.safetensors", "estimator_state.safetensors", "calls_state.safetensors"} < set(names)
    for name in names:
        for damage in ("missing", "cut", "a bit flipped"):
            folder = output_dir / "checkpoint-6"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(kept, folder)
            content = (folder / name).read_bytes()
            if damage == "missing":
                (folder / name).unlink()
            elif damage == "cut":
                (folder / name).write_bytes(content[: len(content) // 2])
            else:
                middle = len(content) // 2
                flipped = bytes([content[middle] ^ 1])
                (folder / name).write_bytes(content[:middle] + flipped + content[middle + 1 :])
            with pytest.raises(
                DamagedCheckpoint, match=f"{name} is {'missing' if damage == 'missing' else 'damaged'}"
            ):
                check_checkpoint(folder)
            assert find_checkpoint(output_dir) == str(output_dir / "checkpoint-4")
    with pytest.raises(DamagedCheckpoint, match="is damaged"):
        resume(new_policy, output_dir, str(output_dir / "checkpoint-6"))
    assert torch.equal(weights(resume(new_policy, output_dir)), expected)


@pytest.mark.parametrize("content", ["", "[]", '{"files": {}}', "\xff"])
def test_a_broken_list_of_sums_is_no_whole_checkpoint(tmp_path, content):
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(DamagedCheckpoint, match=f"{MANIFEST} cannot be read"):
        check_checkpoint(tmp_path)
    with pytest.raises(DamagedCheckpoint, match="no such folder"):
        check_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("at", ["save_model", "_save_optimizer_and_scheduler", "_save_scaler", "_save_rng_state"])
def test_a_run_killed_while_it_saves_has_its_earlier_checkpoints(new_policy, tmp_path, monkeypatch, at):
    expected = weights(train(new_policy(), tmp_path / "whole", **SAVING))
    original, calls = getattr(Trainer, at), []

    def killed(self, *args, **kwargs):
        calls.append(at)
        if len(calls) == 2:
            raise KeyboardInterrupt  # the second checkpoint
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, at, killed)
        train(new_policy(), tmp_path / "killed", **SAVING)
    folders = {path.name for path in (tmp_path / "killed").iterdir()}
    assert folders & {"checkpoint-2", "checkpoint-4", "checkpoint-6"} == {"checkpoint-2"}
    assert torch.equal(weights(train(new_policy(), tmp_path / "killed", resume=True, **SAVING)), expected)
    assert not (tmp_path / "killed" / WRITING).exists()


def test_old_checkpoints_go_when_the_new_one_is_whole(new_policy, tmp_path):
    train(new_policy(), tmp_path, save_total_limit=1, **SAVING)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-6"]
    check_checkpoint(tmp_path / "checkpoint-6")


def test_a_checkpoint_of_weights_alone_is_not_resumed(new_policy, tmp_path):
    train(new_policy(), tmp_path, save_only_model=True, **SAVING)
    with pytest.raises(DamagedCheckpoint, match="holds no optimizer, since it was saved with save_only_model"):
        train(new_policy(), tmp_path, resume=str(tmp_path / "checkpoint-4"), **SAVING)


@pytest.mark.parametrize(
    "change, told",
    [
        ({"learning_rate": 0.5}, "learning_rate was 0.001 and is 0.5"),
        ({"seed": 7}, "seed was 42 and is 7"),
        ({"entropy_coef": 0.1}, "entropy_coef was 0.0 and is 0.1"),
        ({"per_device_train_batch_size": 4}, "images_a_step was 8 and is 4"),
        ({"max_steps": 8}, "max_steps was 6 and is 8"),
    ],
)
def test_other_settings_are_told(new_policy, run, warnings, change, told):
    resume(new_policy, run[0], str(run[0] / "checkpoint-2"), **change)
    assert told in warnings()


def test_another_estimator_and_other_rewards_are_told(new_policy, tmp_path, warnings):
    train(new_policy(), tmp_path, **SAVING)
    train(
        new_policy(), tmp_path, resume=True, reward_funcs=["mean_iou"], **SAVING | {"num_samples": 6, "max_steps": 7}
    )
    for told in ("num_samples was 4 and is 6", "rewards was {'batch_log_iou': 1.0} and is {'mean_iou': 1.0}"):
        assert told in warnings()


@pytest.mark.parametrize("num_iterations", [1, 2])
def test_a_finished_run_is_not_trained_further(new_policy, tmp_path, warnings, num_iterations):
    """Also where its steps are no multiple of an epoch's, of which there are two."""
    settings = SAVING | {"num_iterations": num_iterations, "max_steps": 6, "save_steps": 2}
    settings["per_device_train_batch_size"] = 6
    first = train(new_policy(), tmp_path, **settings)
    for _ in range(2):
        again = train(new_policy(), tmp_path, resume=True, **settings)
        assert again.state.global_step == 6 and torch.equal(weights(again), weights(first))
        assert again.calls.total == first.calls.total
    assert "of a finished run, 6 steps: nothing is left to train" in warnings()


class Stop(TrainerCallback):
    """Sends SIGTERM to this process at the beginning of a step."""

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("num_iterations, step", [(1, 3), (4, 4)])
def test_sigterm_ends_a_run_with_a_checkpoint(new_policy, tmp_path, num_iterations, step):
    """On a whole batch, with an exit code that says it was not finished; what follows is the uninterrupted run."""
    settings = {"num_iterations": num_iterations, "max_steps": 8, "save_strategy": "steps", "save_steps": 8}
    expected = weights(train(new_policy(), tmp_path / "whole", **settings))
    steps = {"per_device_train_batch_size": 8, "learning_rate": 1e-3, "num_samples": 4, "logging_steps": 1}
    steps |= {"lr_scheduler_type": "constant", "disable_tqdm": True, "use_cpu": True}
    args = RSSConfig(str(tmp_path / "stopped"), **steps | settings)
    before = signal.getsignal(signal.SIGTERM)
    trainer = RSSTrainer(new_policy(), args, train_dataset=Scenes(), callbacks=[Stop])
    with pytest.raises(SystemExit) as stopped:
        trainer.train()
    assert stopped.value.code == 143 and signal.getsignal(signal.SIGTERM) == before
    assert find_checkpoint(args.output_dir) == str(tmp_path / "stopped" / f"checkpoint-{step}")
    assert torch.equal(weights(train(new_policy(), tmp_path / "stopped", resume=True, **settings)), expected)


@pytest.mark.parametrize(
    "settings", [{"learning_rate": 1e30}, {"learning_rate": 1e30, "optim": "sgd", "max_grad_norm": 0.0}]
)
def test_a_loss_that_is_not_finite_stops_the_run_at_the_next_log(new_policy, tmp_path, settings):
    with pytest.raises(FloatingPointError, match=r"not finite at step \d+, images .*'\d+'.*Lower learning_rate"):
        train(new_policy(), tmp_path, **{"max_steps": 20, "save_strategy": "steps", "save_steps": 5} | settings)
    for folder in tmp_path.glob("checkpoint-*"):
        assert all(tensor.isfinite().all() for tensor in load_file(folder / "model.safetensors").values())
    assert not Path(tmp_path, "model.safetensors").exists()


def test_weights_that_are_not_finite_are_never_saved(new_policy, tmp_path):
    trainer = train(new_policy(), tmp_path)
    with torch.no_grad():
        trainer.model.decode_head.classifier.bias[1] = torch.nan
    with pytest.raises(FloatingPointError, match="The weight decode_head.classifier.bias is not finite"):
        trainer.save_model()
    assert not (tmp_path / "model.safetensors").exists()


def test_reward_calls_go_on_where_they_were(new_policy, tmp_path):
    """Also with another batch size: 4 steps of 8 images, then 2 of 4, each image with 4 maps."""
    train(new_policy(), tmp_path, **SAVING)
    changes = SAVING | {"per_device_train_batch_size": 4}
    trainer = train(new_policy(), tmp_path, resume=str(tmp_path / "checkpoint-4"), **changes)
    assert logged(trainer, "reward_calls")[-1] == [4 * 8 * 4 + 2 * 4 * 4]
