"""The noise that action maps are drawn with: a function of the seed, the step and an image's place in the batch."""

import math

import torch
from accelerate import Accelerator


def mix_seeds(seed: int, step: int) -> int:
    """One seed of two numbers, below 2^32 since a CPU generator drops higher bits; that of `seed` 0 is `step`."""
    return (seed * 2654435761 + step) % 2**32


class SeededNoise:
    """
    Uniform noise that is the same for an image however the batch is split over processes and, on a CPU, over
    accumulation steps. There is no state to save: a resumed run draws what the uninterrupted one would have.

    Args:
        seed (`int`): not negative.
        accelerator (`Accelerator`): says which of the batch's images are this process's, and on which device they are.
    """

    def __init__(self, seed: int, accelerator: Accelerator):
        self.seed = seed
        self.accelerator = accelerator
        self.generator = torch.Generator(accelerator.device)
        self.step = None

    def draw(self, step: int, batch_size: int, num_samples: int, grid: tuple[int, int]) -> torch.Tensor:
        """
        Noise (K, B, h, w) float32 in [0, 1): this process's part of what is drawn, image by image, for the batch of
        all processes. Further calls at one step are its further accumulation steps.
        """
        if self.step != step:
            self.step = step
            self.generator.manual_seed(mix_seeds(self.seed, step))
        numbers = torch.rand(
            self.accelerator.num_processes * batch_size,
            math.prod(grid) * num_samples,
            generator=self.generator,
            device=self.generator.device,
        )
        own = numbers[self.accelerator.process_index * batch_size :][:batch_size]
        return own.view(batch_size, *grid, num_samples).permute(3, 0, 1, 2)
