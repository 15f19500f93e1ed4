"""The order of training rows when each batch is trained on for several steps in a row."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class RepeatSampler(Sampler[int]):
    """
    Row numbers in a random order of (`seed`, epoch), `chunk_size` at a time, each chunk `repeats` times in a row. Rows
    that fill no whole chunk are left out of the epoch; another epoch leaves out others.

    Args:
        num_rows (`int`): rows of the data set.
        chunk_size (`int`): rows of one step on all processes.
        repeats (`int`): steps for each chunk.
        seed (`int`): of the order.

    Raises:
        ValueError: if the rows do not fill one chunk.
    """

    def __init__(self, num_rows: int, chunk_size: int, repeats: int, seed: int):
        if num_rows < chunk_size:
            raise ValueError(
                f"num_iterations={repeats} needs one whole batch of training images at least: a step takes "
                f"{chunk_size}, the training set has {num_rows}."
            )
        self.num_rows, self.chunk_size, self.repeats, self.seed = num_rows, chunk_size, repeats, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of that epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_rows // self.chunk_size * self.chunk_size * self.repeats

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed((self.seed << 32) + self.epoch)
        order = torch.randperm(self.num_rows, generator=generator)
        chunks = order[: self.num_rows // self.chunk_size * self.chunk_size].view(-1, 1, self.chunk_size)
        yield from chunks.expand(-1, self.repeats, -1).flatten().tolist()
