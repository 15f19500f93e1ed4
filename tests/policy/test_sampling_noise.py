"""Noise is a function of the seed, the step and an image's place in the whole batch."""

import torch
from accelerate import Accelerator

from rss_hf.policy import SeededNoise, mix_seeds


class Process:
    """What an accelerator says of one of several processes."""

    device = torch.device("cpu")

    def __init__(self, index, count):
        self.process_index, self.num_processes = index, count


def test_it_is_uniform_and_depends_on_seed_and_step_alone():
    noise = SeededNoise(3, Accelerator(cpu=True))
    first = noise.draw(7, 2, 1000, (4, 5))
    assert first.shape == (1000, 2, 4, 5) and first.min() >= 0 and first.max() < 1
    assert abs(first.mean() - 0.5) < 5 * (1 / 12 / first.numel()) ** 0.5  # five standard errors
    torch.rand(3)
    assert torch.equal(SeededNoise(3, Accelerator(cpu=True)).draw(7, 2, 1000, (4, 5)), first)
    assert not torch.equal(noise.draw(8, 2, 1000, (4, 5)), first)
    assert not torch.equal(SeededNoise(4, Accelerator(cpu=True)).draw(7, 2, 1000, (4, 5)), first)


def test_processes_and_accumulation_steps_share_what_one_would_draw():
    whole = SeededNoise(0, Process(0, 1)).draw(1, 4, 3, (2, 2))
    by_process = [SeededNoise(0, Process(index, 2)).draw(1, 2, 3, (2, 2)) for index in (0, 1)]
    assert torch.equal(torch.cat(by_process, 1), whole)
    accumulating = SeededNoise(0, Process(0, 1))
    by_step = [accumulating.draw(1, 2, 3, (2, 2)) for _ in range(2)]
    assert torch.equal(torch.cat(by_step, 1), whole)


def test_a_seed_of_two_numbers_is_the_same_in_every_version():
    assert mix_seeds(0, 5) == 5
    assert mix_seeds(1, 5) == 2654435766
    assert mix_seeds(2, 1) == 2 * 2654435761 + 1 - 2**32
