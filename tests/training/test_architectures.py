"""The trainer does not know SegFormer: it takes any model whose output has logits."""

import math

import pytest
import torch
from helpers.models import mobilenet, upernet
from helpers.training import logged, train


@pytest.mark.parametrize("make_model", [upernet, mobilenet])
@pytest.mark.parametrize("reward", ["mean_iou", "pixel_match"])
def test_every_parameter_that_can_learn_does(make_model, reward, tmp_path):
    torch.manual_seed(0)
    model = make_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = train(model, tmp_path, reward_funcs=[reward], learning_rate=0.01, num_samples=8)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    unused = {name for name in before if ".conv_1x1." in name}  # MobileNetV2's last layer serves classification only
    assert moved == set(before) - unused
    assert all(
        math.isfinite(loss) and 0 < entropy <= math.log(3) for loss, entropy in logged(trainer, "loss", "entropy")
    )
    assert 0 <= trainer.evaluate()["eval_mean_iou"] <= 1
