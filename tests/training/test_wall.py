"""The wall, by what comes out: where rewards do not read labels, no label changes a gradient."""

import pytest
import torch
from helpers.training import Scenes, stripes_of_class_one

from rss_hf import RSSConfig, RSSTrainer
from rss_hf.advantages import ESTIMATORS


def gradients(model, output_dir, name, labels):
    args = RSSConfig(
        str(output_dir), use_cpu=True, report_to="none", num_samples=4, advantage_estimator=name, scale_rewards="none"
    )
    scenes = Scenes(8)
    trainer = RSSTrainer(model, args, reward_funcs=stripes_of_class_one, train_dataset=scenes)
    inputs = trainer.data_collator(scenes.rows)
    inputs |= {"labels": labels(inputs["labels"])}
    if inputs["labels"] is None:
        del inputs["labels"]
    for trainer.state.global_step in range(2):  # of the second step what the first has left behind
        trainer.model.zero_grad()
        trainer.compute_loss(trainer.model, inputs).backward()
    return torch.cat([parameter.grad.flatten() for parameter in trainer.model.parameters()])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_labels_change_nothing_but_rewards(new_policy, tmp_path, name):
    expected, *others = (
        gradients(new_policy().eval(), tmp_path, name, labels)
        for labels in (torch.clone, lambda labels: labels.flip(0), lambda labels: labels * 0 + 255, lambda _: None)
    )
    assert expected.abs().sum() > 0
    for other in others:
        assert torch.equal(other, expected)
