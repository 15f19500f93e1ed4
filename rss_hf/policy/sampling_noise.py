"""The noise that action maps are drawn with: a function of the seed, the step and an image's place in the batch."""

import math

import torch
from accelerate import Accelerator


class StepNoise:
    """
    Uniform noise, the same for an image however the batch is split over processes and accumulation steps (over the
    latter on a CPU only), and whether or not the run was resumed: there is no state to save.

    Args:
        seed (`int`): not negative.
        accelerator (`Accelerator`): says which of the batch's images are this process's, and on which device they are.
    """

    def __init__(self, seed: int, accelerator: Accelerator):
        self.seed = seed
        self.accelerator = accelerator
        self.generator = torch.Generator(accelerator.device)
        self.step = None

    def draw(self, step: int, batch_size: int, *shapes: tuple[int, int, int]) -> list[torch.Tensor]:
        """
        Noise in [0, 1) of shapes (n, B, h, w) for (n, h, w) in `shapes`: this process's part of what is drawn, image
        by image, for the batch of all processes. Further calls at one step are its further accumulation steps.
        """
        if self.step != step:
            self.step = step
            self.generator.manual_seed((self.seed << 32) + step)
        sizes = [math.prod(shape) for shape in shapes]
        numbers = torch.rand(
            self.accelerator.num_processes * batch_size,
            sum(sizes),
            generator=self.generator,
            device=self.generator.device,
        )
        own = numbers[self.accelerator.process_index * batch_size :][:batch_size].split(sizes, dim=1)
        return [
            part.view(batch_size, h, w, n).permute(3, 0, 1, 2) for part, (n, h, w) in zip(own, shapes, strict=True)
        ]
