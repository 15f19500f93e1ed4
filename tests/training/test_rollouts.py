"""Samples that serve several steps."""

import pytest
import torch
from helpers.training import Scenes, logged, train, weights

from rss_hf import RSSConfig
from rss_hf.training.loss import explained_weights
from rss_hf.training.rollouts import RepeatSampler, Rollout, Rollouts


def test_samples_are_judged_once_for_several_steps(new_policy, tmp_path):
    """Two epochs of 2 batches, 3 steps each; with accumulation too, the same as without."""
    judged = []

    def agreement(predictions, references=None, id=None, **columns):
        judged.append(id[: len(id) // 4])  # K = 4 predictions an image
        return (predictions == references).float().mean((1, 2))

    runs = []
    for options in ({}, {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}):
        judged.clear()
        options = {"num_iterations": 3, "max_steps": 12, "scale_rewards": "none", "optim": "sgd"} | options
        runs.append(train(new_policy(), tmp_path, reward_funcs=[agreement], learning_rate=30.0, **options))
        rows = sum(judged[1:], [])  # the first call was the trial before training
        assert sorted(rows[:16], key=int) == sorted(rows[16:], key=int) == [str(n) for n in range(16)]
        assert rows[:16] != rows[16:]
    calls, entropy, grad_norm = zip(*logged(runs[0], "reward_calls", "entropy", "grad_norm"), strict=True)
    assert list(calls) == [4 * 8 * draw for draw in (1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4)]
    assert len(set(entropy)) == 12 and min(grad_norm) > 0  # the reused samples still move it
    torch.testing.assert_close(weights(runs[0]), weights(runs[1]), rtol=2e-3, atol=1e-5)


def test_reused_samples_of_an_image_without_reward_teach_nothing(new_policy, tmp_path):
    """Where all of it is void there is nothing to learn, nor to hold on to as the policy moves on other images."""
    options = {"reward_funcs": ["mean_iou"], "per_device_train_batch_size": 16, "num_iterations": 2}
    trainer = train(new_policy(), tmp_path, Scenes(empty=range(4)), max_steps=2, optim="sgd", **options)
    rollout = trainer.rollouts.current(1)
    silent = (rollout.weights == 0).flatten(1).all(1)
    explained = explained_weights(torch.randn_like(rollout.log_probs), rollout)
    assert silent.sum() == 4
    assert (explained[silent] == 0).all() and (explained[~silent] != 0).any()


@pytest.mark.parametrize("options", [{"num_iterations": 0}, {"num_iterations": 3, "save_steps": 100}])
def test_samples_cannot_be_reused_so(options, tmp_path):
    with pytest.raises(ValueError, match="num_iterations"):
        RSSConfig(output_dir=str(tmp_path), use_cpu=True, **options)


def test_the_order_of_rows_depends_on_seed_and_epoch():
    def order(seed, epoch):
        sampler = RepeatSampler(10, 4, 2, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    first = order(0, 0)
    assert len(first) == 16 and first[:4] == first[4:8] and len(set(first)) == 8
    assert order(0, 0) == first and order(1, 0) != first and order(0, 1) != first
    with pytest.raises(ValueError, match="a step takes 4, the training set has 3"):
        RepeatSampler(3, 4, 2, 0)


def rollout(number, **options):
    return Rollout(None, None, torch.full((1, 1, 1, 1), float(number)), None, None, **options)


def test_the_rollouts_of_a_batch_come_again_in_their_order():
    """Three steps on each batch of two accumulated rollouts."""
    rollouts = Rollouts(num_iterations=3, accumulation_steps=2)
    assert [rollouts.first_step(step) for step in range(7)] == [0, 0, 0, 3, 3, 3, 6]
    for step in range(6):
        for number in range(2):
            current = rollouts.current(step)
            if step % 3 == 0:
                assert current is None
                stored = rollouts.store(rollout(10 * step + number))
                assert not stored.is_reused
            else:
                assert current.is_reused and current.rewards.item() == 10 * (step // 3 * 3) + number


def test_a_batch_whose_samples_are_not_all_kept_is_drawn():
    """In a run that is resumed between the steps on one batch."""
    rollouts = Rollouts(num_iterations=2, accumulation_steps=2)
    assert rollouts.current(1) is None
    rollouts.store(rollout(0))
    assert rollouts.current(1) is None
    once = Rollouts(num_iterations=1, accumulation_steps=1)
    once.store(rollout(0))
    assert once.current(0) is None and len(once._kept) == 0


def test_the_order_begins_with_epoch_0_and_its_length_is_known():
    sampler = RepeatSampler(10, 4, 3, seed=5)
    first = list(sampler)
    assert len(sampler) == len(first) == 24
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_an_image_is_answered_where_any_map_has_a_reward():
    nan = torch.nan
    rewards = torch.tensor([[nan, nan, 1.0], [nan, 2.0, 3.0]])[..., None, None]
    assert Rollout(None, None, rewards, None, None).is_answered.tolist() == [False, True, True]
    sites = torch.tensor([[[nan, 1.0], [nan, nan]]])[:, :, None]
    assert Rollout(None, None, sites, None, None).is_answered.tolist() == [True, False]


def test_rollouts_without_answers_are_counted():
    rollouts = Rollouts(num_iterations=1, accumulation_steps=2)
    assert not rollouts.have_answers and rollouts.unanswered == 0
    seen = []
    for number, has_answers in enumerate([True, False, False, False, True]):
        rollouts.store(rollout(number, has_answers=has_answers))
        seen.append((rollouts.have_answers, rollouts.unanswered))
    assert seen == [(True, 0), (True, 1), (False, 2), (False, 3), (True, 0)]
    rollouts.store(rollout(5))
    assert rollouts.have_answers and rollouts.unanswered == 0
