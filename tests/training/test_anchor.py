"""The KL divergence from the network that training begins with."""

import pytest
import torch
from helpers.training import Scenes, logged, stripes_of_class_one, train, weights

from rss_hf import RSSConfig, RSSTrainer
from rss_hf.policy import PixelPolicy
from rss_hf.training.loss import kl_divergence


def test_it_is_torchs_divergence():
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (PixelPolicy(torch.randn(2, 3, 4, 5, generator=generator)) for _ in range(2))
    expected = torch.distributions.kl_divergence(
        *(torch.distributions.Categorical(logits=p.log_probs.movedim(1, -1)) for p in (ours, theirs))
    )
    torch.testing.assert_close(kl_divergence(ours, theirs), expected)


def test_the_loss_has_it_added(new_policy, tmp_path):
    """By hand, from another network: beta / sqrt(N) times the mean over the images that were answered."""

    def half(predictions, pixel_values, id, **columns):
        answers = stripes_of_class_one(predictions, pixel_values=pixel_values)
        return [answer if int(i) % 2 else None for answer, i in zip(answers.tolist(), id, strict=True)]

    scenes, losses = Scenes(6), []
    for beta in (0.0, 2.0):
        args = RSSConfig(str(tmp_path), use_cpu=True, report_to="none", num_samples=4, beta=beta)
        trainer = RSSTrainer(new_policy().eval(), args, reward_funcs=half, train_dataset=scenes)
        inputs = trainer.data_collator(scenes.rows)
        with torch.no_grad():
            before = trainer.model(pixel_values=inputs["pixel_values"]).logits
            trainer.model.decode_head.classifier.bias.add_(torch.tensor([1.0, 0.0, -1.0]))
        loss, outputs = trainer.compute_loss(trainer.model, inputs, return_outputs=True)
        losses.append(loss)
    policies = [PixelPolicy(logits, (8, 8)) for logits in (outputs.logits, before)]
    expected = 2.0 / 8 * kl_divergence(*policies)[1::2].sum() / (6 * 64)
    torch.testing.assert_close(losses[1] - losses[0], expected, rtol=1e-4, atol=1e-7)


def test_a_strong_anchor_holds_the_network(new_policy, tmp_path):
    """The bias alone is trained, without momentum: the divergence stays far below that of the run without."""
    ends = {}
    for beta in (0.0, 30.0):
        model = new_policy().requires_grad_(False)
        model.decode_head.classifier.bias.requires_grad_(True)
        options = {"optim": "sgd", "learning_rate": 1.0, "max_steps": 20, "reward_funcs": [stripes_of_class_one]}
        trainer = train(model, tmp_path / str(beta), beta=beta, entropy_coef=0.0, **options)
        ends[beta] = (trainer.model.decode_head.classifier.bias - new_policy().decode_head.classifier.bias).norm()
    assert logged(trainer, "kl")[-1][0] > 0 and ends[30.0] < 0.5 * ends[0.0]


def test_a_resumed_run_has_the_same_anchor(new_policy, tmp_path):
    options = {"max_steps": 5, "save_strategy": "steps", "save_steps": 1, "beta": 1.0}
    whole = train(new_policy(), tmp_path / "whole", **options)
    resumed = train(new_policy(), tmp_path / "whole", resume=str(tmp_path / "whole/checkpoint-3"), **options)
    assert torch.equal(weights(whole), weights(resumed))
    assert not torch.equal(weights(whole), weights(train(new_policy(), tmp_path / "none", **options | {"beta": 0.0})))
    with pytest.raises(ValueError, match="beta must be at least 0, got -1"):
        RSSConfig(str(tmp_path), beta=-1.0)


def test_a_temperature_is_that_of_maps_loss_and_anchor(new_policy, tmp_path):
    """Logits divided by it, at temperature 1, give the same loss, drawn rewards and gradient as it does."""
    results = {}
    for temperature in (0.5, 1.0):
        model = new_policy().eval()
        if temperature == 1:
            with torch.no_grad():
                for parameter in model.decode_head.classifier.parameters():
                    parameter.mul_(2)
        args = RSSConfig(
            str(tmp_path), use_cpu=True, report_to="none", num_samples=4, beta=1.0, temperature=temperature
        )
        trainer = RSSTrainer(model, args, reward_funcs=stripes_of_class_one, train_dataset=Scenes(6))
        inputs = trainer.data_collator(Scenes(6).rows)
        with torch.no_grad():  # away from the anchor
            model.decode_head.classifier.bias.add_(torch.tensor([0.5, 0.0, -0.5]) * temperature)
        loss = trainer.compute_loss(model, inputs)
        loss.backward()
        scores = trainer.scores(trainer.get_eval_dataloader(Scenes(6)))
        drawn = scores["sampled_reward"], scores["reward"]
        results[temperature] = loss, model.decode_head.classifier.bias.grad * temperature, drawn
    torch.testing.assert_close(results[0.5], results[1.0])
