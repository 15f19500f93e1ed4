"""The confidence penalty against the score it is the gradient of."""

import pytest
import torch
from helpers.toy import SITES, enumerate_maps, surrogate_gradient, toy

from rss_hf.advantages import confidence_penalty, leave_one_out
from rss_hf.policy import PixelPolicy


@pytest.mark.parametrize("coef", [1.0, 1.3])
@pytest.mark.parametrize("is_pixel_level", [False, True])
def test_a_reward_of_right_or_wrong_less_confidence_teaches_the_brier_score(coef, is_pixel_level):
    """The expected gradient is that of mean_p(pi(y) - coef/2 sum_c pi(c)^2), by automatic differentiation."""
    labels = torch.tensor([[[[1, 2]]]])
    actions, p = enumerate_maps(2)
    gradient = 0
    for weight, a in zip(p, actions.unsqueeze(2).unbind(1), strict=True):
        right = (a == labels).double()
        rewards = right if is_pixel_level else right.mean((2, 3), keepdim=True)
        rewards = confidence_penalty(rewards, PixelPolicy(toy()).log_prob(a).exp(), coef)
        gradient = gradient + weight * surrogate_gradient(a, leave_one_out(rewards)) / (SITES if is_pixel_level else 1)
    logits = toy(True)
    probs = logits.softmax(1)
    score = (probs.gather(1, labels) - coef / 2 * probs.square().sum(1, keepdim=True)).mean()
    torch.testing.assert_close(gradient, torch.autograd.grad(score, logits)[0])
