"""Action maps and references with void, of a size that grids do not divide."""

import torch

from rss_hf.rewards import RewardBatch


C = 4
SIZE = (13, 10)
GRIDS = [(13, 10), (4, 5), (5, 3), (7, 4), (1, 1)]  # some divide the size, most do not


def scene(seed=0, num_samples=3, batch_size=3, grid=(5, 3)):
    generator = torch.Generator().manual_seed(seed)
    actions = torch.randint(C, (num_samples, batch_size, *grid), generator=generator)
    references = torch.randint(C - 1, (batch_size, *SIZE), generator=generator)  # class 3 is absent
    references[torch.rand(references.shape, generator=generator) < 0.2] = 255
    references[0, :6] = 255
    return actions, references


def batch_of(references=None, batch_size=3, **columns):
    """The batch that rewards are computed from."""
    labels = {} if references is None else {"labels": references}
    batch_size = batch_size if references is None else len(references)
    return RewardBatch({"pixel_values": torch.zeros(batch_size, 3, *SIZE)} | labels | columns)
