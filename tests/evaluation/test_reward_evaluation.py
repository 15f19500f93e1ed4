"""Rewards of a split: of the most probable maps and of drawn ones, with labels and without."""

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from helpers.training import Scenes, stripes_of_class_one, train, weights
from torch.utils.data import DataLoader

from rss_hf import RSSConfig, RSSTrainer
from rss_hf.data import collate
from rss_hf.evaluation import evaluate_rewards
from rss_hf.policy import PixelPolicy, mix_seeds
from rss_hf.rewards import WeightedRewards, mean_iou


C = 3


@pytest.fixture
def accelerator():
    return Accelerator(cpu=True)


def by_hand(model, scenes, seed, batch_size=4):
    """The mean IoU of greedy maps, and of 4 maps an image drawn at stride 8, batch by batch."""
    greedy, drawn = [], []
    for step in range(len(scenes) // batch_size):
        rows = scenes.rows[step * batch_size :][:batch_size]
        images, labels = (torch.stack([row[name] for row in rows]) for name in ("pixel_values", "labels"))
        with torch.no_grad():
            logits = model.eval()(pixel_values=images).logits
        maps = F.interpolate(logits, (32, 32), mode="bilinear", align_corners=False).argmax(1)
        greedy.append(mean_iou(maps, labels))
        generator = torch.Generator().manual_seed(mix_seeds(seed, step))
        actions = PixelPolicy(logits, (4, 4)).sample(4, generator)
        painted = actions.repeat_interleave(8, -1).repeat_interleave(8, -2)
        drawn += [mean_iou(some, labels) for some in painted]
    return torch.cat(greedy).nanmean().item(), torch.cat(drawn).nanmean().item()


def test_greedy_and_drawn_maps_by_hand(new_policy, accelerator):
    model, scenes = new_policy(), Scenes(8, empty=[2])
    loader = accelerator.prepare(DataLoader(scenes, batch_size=4, collate_fn=collate))
    rewards = WeightedRewards(["mean_iou", stripes_of_class_one], [2.0, 1.0])
    got = evaluate_rewards(model, loader, rewards, C, accelerator, stride=8, seed=3)
    greedy, drawn = by_hand(model, scenes, 3)
    assert got["reward/mean_iou"] == pytest.approx(greedy, abs=1e-6)
    assert got["sampled_reward/mean_iou"] == pytest.approx(drawn, abs=1e-6)
    assert set(evaluate_rewards(model, loader, rewards, C, accelerator)) == {
        "reward",
        "reward/mean_iou",
        "reward/stripes_of_class_one",
    }


def test_images_and_labels_of_their_own_sizes(new_policy, accelerator):
    """Labels are brought to the size of the pixel values; images of several sizes are judged one at a time."""
    model, scenes = new_policy(), Scenes(4)
    together = accelerator.prepare(DataLoader(scenes, batch_size=4, collate_fn=collate))
    expected = evaluate_rewards(model, together, WeightedRewards(["mean_iou"]), C, accelerator)
    for row in scenes.rows:
        row["labels"] = row["labels"].repeat_interleave(3, 0).repeat_interleave(3, 1)
    sizes = evaluate_rewards(model, together, WeightedRewards(["mean_iou"]), C, accelerator)
    assert sizes == pytest.approx(expected)
    inputs = collate(scenes.rows)
    apart = [inputs | {"pixel_values": list(inputs["pixel_values"]), "labels": list(inputs["labels"])}]
    assert evaluate_rewards(model, apart, WeightedRewards(["mean_iou"]), C, accelerator) == pytest.approx(expected)


def test_evaluation_changes_nothing_of_training(new_policy, tmp_path):
    """Nor the counts that running_log_iou keeps, nor any random stream."""
    options = {"reward_funcs": ["running_log_iou", "mean_iou"], "max_steps": 4}
    without = train(new_policy(), tmp_path / "a", **options)
    evaluated = train(new_policy(), tmp_path / "b", eval_strategy="steps", eval_steps=1, **options)
    assert torch.equal(weights(without), weights(evaluated))
    entry = [entry for entry in evaluated.state.log_history if "eval_reward" in entry][-1]
    greedy, _ = by_hand(evaluated.model, Scenes(), 42, batch_size=8)
    assert entry["eval_reward/mean_iou"] == pytest.approx(greedy, abs=1e-6)
    assert {"eval_mean_iou", "eval_sampled_reward", "eval_sampled_reward/mean_iou"} <= set(entry)


def test_evaluation_has_rewards_of_its_own(new_policy, tmp_path):
    scenes = Scenes(4)
    args = RSSConfig(str(tmp_path), use_cpu=True, report_to="none", eval_reward_funcs="mean_iou", reward_weights=[2.0])
    trainer = RSSTrainer(new_policy(), args, reward_funcs=stripes_of_class_one, eval_dataset=scenes)
    scores = trainer.evaluate()
    assert scores["eval_reward"] == scores["eval_reward/mean_iou"] and "eval_reward/stripes_of_class_one" not in scores
    with pytest.raises(ValueError, match="No reward named 'miou'"):
        RSSTrainer(new_policy(), args, eval_reward_funcs="miou", eval_dataset=scenes)


def test_an_unsure_policy_is_warned_of(new_policy, tmp_path, caplog):
    """Confetti has some of everything; the most probable map of one class alone has not."""

    def variety(predictions, **columns):
        return sum((predictions == c).any(-1).any(-1).float() for c in range(C)) / C

    model = new_policy()
    torch.nn.init.zeros_(model.decode_head.classifier.weight)
    torch.nn.init.zeros_(model.decode_head.classifier.bias)
    settings = {"max_steps": 1, "learning_rate": 1e-9, "reward_funcs": [variety]}
    trainer = train(model, tmp_path, Scenes(8, with_labels=False), **settings)
    scores = trainer.evaluate()
    assert scores["eval_reward"] == pytest.approx(1 / 3) and scores["eval_sampled_reward"] > 0.9
    assert "the policy may not be sure enough" in caplog.text
