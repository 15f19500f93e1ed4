"""
Times the built-in rewards that look at painted maps, and prints the table of docs/rewards.md.

    python benchmarks/measure_reward_times.py
"""

import time

import pandas as pd
import torch

from rss_hf.rewards import REWARDS


NAMES = ("boundary_f1", "cl_dice", "object_count", "class_area")
SIZES = {"16 maps of 64x64": (16, 64), "2 maps of 256x256": (2, 256)}


def main():
    torch.set_num_threads(1)
    table = {size: [f"{seconds(name, *shape):.2f}" for name in NAMES] for size, shape in SIZES.items()}
    print(pd.DataFrame(table, index=[f"`{name}`" for name in NAMES]).to_markdown())  # noqa: T201


def seconds(name: str, num_maps: int, side: int) -> float:
    """The median CPU time of three calls on blocks and maps in which a tenth of the pixels differs."""
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(5, (num_maps, side // 8, side // 8), generator=generator)
    references = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)
    noise = torch.randint(5, references.shape, generator=generator)
    predictions = noise.where(torch.rand(references.shape, generator=generator) < 0.1, references)
    times = []
    for _ in range(3):
        start = time.process_time()
        REWARDS[name](predictions, references)
        times.append(time.process_time() - start)
    return sorted(times)[1]


if __name__ == "__main__":
    main()
