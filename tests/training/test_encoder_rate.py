"""A pretrained encoder: a learning rate of its own, its statistics fixed, or frozen altogether."""

import pytest
import torch
from helpers.models import mobilenet
from helpers.training import train, weights
from transformers import SegformerConfig, TrainingArguments

from rss_hf import SegmentationConfig, SegmentationTrainer
from rss_hf.training.segmentation_trainer import find_encoder


def parts(model):
    """Copies of what the encoder learns, of its statistics, and of what the rest learns."""
    encoder = find_encoder(model)
    inside = {id(p) for p in encoder.parameters()}
    learned = [p.detach().clone() for p in encoder.parameters()]
    statistics = [b.clone() for b in encoder.buffers()]
    return learned, statistics, [p.detach().clone() for p in model.parameters() if id(p) not in inside]


def same(first, second):
    return [torch.equal(*pair) for pair in zip(first, second, strict=True)]


def make_mobilenet():
    torch.manual_seed(0)
    return mobilenet()


def test_without_a_rate_of_its_own_everything_is_trained(tmp_path):
    model = make_mobilenet()
    before = parts(model)
    train(model, tmp_path)
    learned, statistics, rest = (same(*pair) for pair in zip(before, parts(model), strict=True))
    assert not all(learned) and not any(statistics) and not all(rest)


def test_a_frozen_encoder_stays_bit_for_bit(tmp_path):
    model = make_mobilenet()
    before = parts(model)
    trainer = train(model, tmp_path, encoder_learning_rate=0)
    learned, statistics, rest = (same(*pair) for pair in zip(before, parts(model), strict=True))
    assert all(learned) and all(statistics) and not all(rest)
    assert sum(p.numel() for g in trainer.optimizer.param_groups for p in g["params"]) == sum(
        tensor.numel() for tensor in before[2]
    )


def test_an_encoder_rate_moves_the_encoder_so_much_and_keeps_its_statistics(tmp_path):
    model = make_mobilenet()
    before = parts(model)
    options = {"encoder_learning_rate": 1e-5, "learning_rate": 1e-3, "max_steps": 1, "weight_decay": 0.0}
    trainer = train(model, tmp_path, **options)
    after = parts(model)
    assert all(same(before[1], after[1]))
    # Adam's first step is as long as the rate, whatever the gradient.
    moved = [max((a - b).abs().max() for a, b in zip(*pair, strict=True)) for pair in zip(before, after, strict=True)]
    assert moved[0] == pytest.approx(1e-5, rel=0.05) and moved[2] == pytest.approx(1e-3, rel=0.05)
    trained = [id(p) for group in trainer.optimizer.param_groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in model.parameters())


def test_it_resumes_bit_for_bit(tmp_path):
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 1, "encoder_learning_rate": 1e-4}
    whole = train(make_mobilenet(), tmp_path, **options)
    resumed = train(make_mobilenet(), tmp_path, resume=str(tmp_path / "checkpoint-2"), **options)
    assert torch.equal(weights(whole), weights(resumed))


def test_other_arguments_are_refused(tmp_path):
    with pytest.raises(TypeError, match="must be a SegmentationConfig or an RSSConfig, got a TrainingArguments"):
        SegmentationTrainer(model=make_mobilenet(), args=TrainingArguments(str(tmp_path), use_cpu=True))


def test_a_model_without_an_encoder_is_refused(tmp_path):
    args = SegmentationConfig(str(tmp_path), use_cpu=True, encoder_learning_rate=0)
    network = torch.nn.Linear(2, 2)
    network.config = SegformerConfig(num_labels=2)
    with pytest.raises(ValueError, match="Linear has neither"):
        SegmentationTrainer(model=network, args=args)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        SegmentationConfig(str(tmp_path), encoder_learning_rate=-1)
