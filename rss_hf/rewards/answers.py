"""What a reward may return, as one float32 tensor."""

import math
import numbers
from typing import Any

import numpy as np
import torch


LARGEST_REWARD = 1e12  # the squares of more would overflow float32 where they are summed over a batch
INTEGERS = {torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64}
INTEGERS |= {torch.int8, torch.int16, torch.int32, torch.int64}


class RewardError(RuntimeError):
    """What a reward did wrong, in a sentence for its author; the cause is its own error, if it raised one."""


def answer_tensor(name: str, answer: Any, num_maps: int, size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """
    The answer of the reward `name` for `num_maps` maps of `size` = (H, W) pixels.

    Args:
        name (`str`): of the reward, for errors.
        answer: (N,) or (N, H, W) numbers or bools, as a tensor, an array, or a list of numbers, None and tensors.
        num_maps (`int`): N.
        size (`tuple[int, int]`): (H, W).
        device (`torch.device`): where it is wanted.

    Returns:
        `torch.Tensor` of shape `(N,)` or `(N, H, W)`: float32 up to ±1e12, NaN where the reward does not apply.

    Raises:
        RewardError: if the answer is anything else; it names the reward.
    """
    shapes = (num_maps,), (num_maps, *size)
    expected = f"a tensor, array or list of shape {shapes[0]}, one number a map, or {shapes[1]}, one a pixel"
    try:
        values = _numbers(answer)
    except (TypeError, ValueError, OverflowError) as error:
        raise RewardError(f"Reward {name!r} returned {error}; expected {expected}.") from error
    if tuple(values.shape) not in shapes:
        raise RewardError(f"Reward {name!r} returned shape {tuple(values.shape)}; expected {expected}.")
    values = values.to(device, torch.float32)
    try:  # on the device: at once on a CPU, without waiting for the value on an accelerator
        torch._assert_async(
            ~(values.abs() > LARGEST_REWARD).any(),
            f"Reward {name!r} returned an infinite value or one beyond ±{LARGEST_REWARD:g}; return NaN where it does "
            "not apply, and bring it to a smaller scale.",
        )
    except RuntimeError as error:
        raise RewardError(str(error)) from None
    return values


def _numbers(answer: Any) -> torch.Tensor:
    """A tensor of real numbers, without gradient; an error says what the answer is instead."""
    if isinstance(answer, torch.Tensor):
        if answer.is_nested or answer.layout != torch.strided:
            raise TypeError(f"a {'nested' if answer.is_nested else answer.layout} tensor")
        if answer.is_meta or not (answer.dtype.is_floating_point or answer.dtype in INTEGERS):
            raise TypeError(f"a tensor of {answer.dtype} on device {answer.device.type!r}")
        return answer.detach()
    if isinstance(answer, list | tuple) and any(isinstance(entry, torch.Tensor) for entry in answer):
        return _stack([_numbers(math.nan if entry is None else entry).to("cpu", torch.float32) for entry in answer])
    kind = type(answer).__name__
    if not isinstance(answer, list | tuple | np.ndarray | numbers.Real):
        raise TypeError(f"a {kind}")
    try:
        array = np.ma.array(answer)  # a copy
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"a {kind} that makes no array: {error}") from error
    if array.dtype.kind == "O":
        strange = [entry for entry in array.data.flat if not (entry is None or isinstance(entry, numbers.Real))]
        if strange:
            raise TypeError(f"a {kind} that holds a {type(strange[0]).__name__}")
    elif array.dtype.kind not in "biuf":
        raise TypeError(f"a {kind} of {array.dtype}")
    return torch.from_numpy(array.astype(np.float64).filled(np.nan))  # None is NaN


def _stack(entries: list[torch.Tensor]) -> torch.Tensor:
    shapes = sorted({tuple(entry.shape) for entry in entries})
    if len(shapes) > 1:
        raise ValueError(f"a list of tensors of shapes {shapes[0]} and {shapes[1]}")
    return torch.stack(entries)
