"""Calls of rewards on the action maps of a batch: guarded, in parts where they are many, async ones together."""

import asyncio
import functools
import inspect
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from .answers import answer_tensor
from .confusion import cell_means
from .contract import RewardBatch, RewardContext, arguments_of
from .guarded_call import guarded_call


PIXELS_PER_CALL = 2**26  # of class maps shown to a reward at once: 512 MiB of int64; K maps of a batch may be more


def reward_name(reward: Callable) -> str:
    """The name a reward is logged under: its `__name__`, that of the function a partial is of, or its class's."""
    if isinstance(reward, functools.partial) and "__name__" not in vars(reward):
        return reward_name(reward.func)
    return str(getattr(reward, "__name__", type(reward).__name__))


def is_async(reward: Callable) -> bool:
    """Whether a reward is to be awaited."""
    function = reward.func if isinstance(reward, functools.partial) else reward
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def call_rewards(
    rewards: list[Callable],
    actions: torch.Tensor,
    batch: RewardBatch,
    context: RewardContext,
    timeout: float | None = None,
) -> dict[str, torch.Tensor]:
    """
    Rewards called on upsampled class maps, their answers checked and brought back to the action grid. Those that are
    `async` are awaited together. The seconds of each are logged as `reward/<name>/seconds`.

    Args:
        rewards (`list[Callable]`): by the contract of [`rss_hf.rewards.contract`].
        actions (`torch.Tensor` of shape `(K, B, h, w)`): int64 in [0, C).
        batch ([`RewardBatch`]): of the B images.
        context ([`RewardContext`]): what else rewards may ask for.
        timeout (`float`, *optional*): seconds that a call may take.

    Returns:
        `dict[str, torch.Tensor]`: by name, `(K, B)` or `(K, B, h, w)` float32, NaN where a reward does not apply.

    Raises:
        RewardError: if a reward raises, ends the process, or returns what is no answer; it names the reward.
        TimeoutError: if there is no answer in time; it names the reward.
    """
    parts = actions.split(max(1, PIXELS_PER_CALL // (actions.shape[1] * math.prod(batch.size))))
    guard = functools.partial(
        guarded_call, device=actions.device, trainer_state=context.trainer_state, timeout=timeout
    )
    answers: dict[str, list[Any]] = {}
    together = {reward_name(reward): reward for reward in rewards if is_async(reward)}
    for reward in rewards:
        if (name := reward_name(reward)) not in together:
            start = time.perf_counter()
            asked = (functools.partial(_ask, reward, part, batch, context) for part in parts)
            answers[name] = [guard(name, ask) for ask in asked]
            context.log_metric(f"reward/{name}/seconds", time.perf_counter() - start)
    if together:
        asked = [functools.partial(_ask, r, part, batch, context) for r in together.values() for part in parts]
        results = guard(", ".join(together), functools.partial(_await_all, asked))
        for i, name in enumerate(together):
            own = results[i * len(parts) : (i + 1) * len(parts)]
            answers[name] = [guard(name, functools.partial(_result, answer)) for answer, _ in own]
            context.log_metric(f"reward/{name}/seconds", sum(seconds for _, seconds in own))
    return {
        name: torch.cat([_on_grid(name, batch, *pair) for pair in zip(own, parts, strict=True)])
        for name, own in answers.items()
    }


def _ask(reward: Callable, actions: torch.Tensor, batch: RewardBatch, context: RewardContext) -> Any:
    maps, others = arguments_of(reward, actions, batch, context)
    return reward(maps, **others)


def _await_all(asked: list[Callable]) -> list[tuple[Any, float]]:
    """The answers, or exceptions, of asynchronous calls, each with its seconds."""

    async def one(ask: Callable) -> tuple[Any, float]:
        start = time.perf_counter()
        try:
            return await ask(), time.perf_counter() - start
        except Exception as error:
            return error, time.perf_counter() - start

    async def together() -> list[tuple[Any, float]]:
        with torch.no_grad():
            return await asyncio.gather(*map(one, asked))

    with ThreadPoolExecutor(1) as pool:  # a thread of its own, since in a notebook a loop is running in this one
        return pool.submit(asyncio.run, together()).result()


def _result(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _on_grid(name: str, batch: RewardBatch, answer: Any, actions: torch.Tensor) -> torch.Tensor:
    """An answer for action maps (K, B, h, w), checked: (K, B) or (K, B, h, w)."""
    num_samples, batch_size, h, w = actions.shape
    values = answer_tensor(name, answer, num_samples * batch_size, batch.size, actions.device)
    if values.ndim == 1:
        return values.view(num_samples, batch_size)
    return cell_means(values, (h, w)).view(num_samples, batch_size, h, w)
