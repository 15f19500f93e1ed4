"""The gradient of the expected IoU against autograd."""

import torch

from rss_hf.advantages.score_posterior.expected_iou import expected_iou_advantages


def test_the_iou_that_is_expected_rises_along_its_gain():
    """Against autograd, on two processes: the other one sees half of what both have."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 4, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    gain = 0.5 * (torch.randn(3, 4, 2, 3, generator=generator, dtype=torch.float64).softmax(1) - 0.25)
    visible = torch.rand(3, 1, 2, 3, generator=generator) < 0.8
    probs = logits.softmax(1)
    expected = (probs.detach() + gain).clamp(min=0)
    assert (expected == 0).any() and not visible.all()
    expected = expected / expected.sum(1, keepdim=True)
    hits = (probs * expected * visible).sum((0, 2, 3))
    iou = hits / (((probs + expected) * visible).sum((0, 2, 3)) - hits)
    (slope,) = torch.autograd.grad((iou + 0.05).log().mean(), logits)

    def to_logits(gain):  # the gradient of sum(gain log pi)
        return gain - probs * gain.sum(1, keepdim=True)

    per_site = visible.sum() * slope
    alone = expected_iou_advantages(probs, gain, visible, torch.Tensor.clone)
    torch.testing.assert_close(to_logits(alone), per_site)
    counts = []
    expected_iou_advantages(probs[:1], gain[:1], visible[:1], lambda own: counts.append(own) or own)
    other = expected_iou_advantages(probs[1:], gain[1:], visible[1:], lambda own: own + counts[0])
    torch.testing.assert_close(other, alone[1:])


def test_without_a_site_in_view_no_iou_is_expected():
    probs = torch.full((1, 2, 2, 2), 0.5)
    nowhere = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    assert torch.equal(expected_iou_advantages(probs, probs * 0, nowhere, torch.Tensor.clone), probs * 0)


def test_no_gradient_flows_through_what_is_expected():
    probs = torch.full((1, 2, 2, 2), 0.5, requires_grad=True)
    visible = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    assert not expected_iou_advantages(probs, torch.zeros(1, 2, 2, 2), visible, torch.Tensor.clone).requires_grad
