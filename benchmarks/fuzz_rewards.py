"""Targets of fuzz.py: names, weights, columns and answers of rewards."""

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rss_hf.advantages import SCALE_REWARDS, leave_one_out, normalize, pairwise_spatial_difference
from rss_hf.rewards import LARGEST_REWARD, REWARDS, ConfusionReward, RewardBatch, WeightedRewards, get_reward


K, B, C, SIZE, GRID = 2, 2, 3, (3, 2), (2, 1)
N = K * B
ACTIONS = torch.arange(N * 2).view(K, B, *GRID) % C
LABELS = torch.arange(B * 6).view(B, *SIZE) % C
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.floats(width=16),
    st.complex_numbers(),
    st.text(),
    st.binary(),
)


@contextmanager
def documented(name: str, *errors: type[Exception]) -> Iterator[None]:
    """Lets errors of these classes pass whose message holds `name`."""
    try:
        yield
    except errors as error:
        if name not in str(error):
            raise


def reward_names(data: st.DataObject) -> None:
    """Whatever is given as a reward is a callable in the end, or a ValueError names it."""
    part = st.sampled_from(["rss_hf", "rewards", "dice", "torch", "nn", "Module", "constants", ".", ":", "", "\0"])
    path = st.builds(":".join, st.lists(st.builds(".".join, st.lists(part | st.text(max_size=3))), max_size=3))
    reward = data.draw(
        st.one_of(st.text(), path, st.sampled_from(list(REWARDS)), SCALARS, st.dictionaries(part, part))
    )
    with documented(repr(reward), ValueError):
        assert callable(get_reward(reward))


def reward_weights(data: st.DataObject) -> None:
    """Weights make a finite total of the built-in rewards, or are refused under their option's name."""
    of_counts = [name for name, reward in REWARDS.items() if isinstance(reward, ConfusionReward)]
    names = data.draw(st.lists(st.sampled_from(of_counts), max_size=4))
    weights = data.draw(st.none() | SCALARS | st.lists(SCALARS | st.floats(-10, 10), max_size=4))
    timeout = data.draw(st.one_of(st.none(), SCALARS))
    with documented("reward", ValueError):
        try:
            rewards = WeightedRewards(names, weights, timeout=timeout)
        except ValueError as error:
            if re.search("distinct names", str(error)):
                return
            raise
        with documented("reward_weights", RuntimeError):
            results = rewards(ACTIONS, RewardBatch({"pixel_values": torch.zeros(B, 3, *SIZE), "labels": LABELS}), C)
            assert not rewards.total(results).isinf().any()


def reward_columns(data: st.DataObject) -> None:
    """Columns reach a reward with an entry for each map, or are refused by name."""
    names = st.one_of(
        st.text(), st.sampled_from(["predictions", "references", "trainer_state", "size", "id"]), SCALARS
    )
    entries = st.one_of(
        SCALARS, st.lists(SCALARS, max_size=4), arrays.arrays(np.float32, arrays.array_shapes(min_dims=0))
    )
    columns = data.draw(st.dictionaries(names.filter(lambda name: name not in ("labels", "pixel_values")), entries))
    given = {}

    def reward(predictions, references=None, **columns):
        given.update(columns)
        return torch.zeros(len(predictions))

    try:
        batch = RewardBatch({"pixel_values": torch.zeros(B, 3, *SIZE)} | columns)
    except ValueError as error:
        assert any(repr(name) in str(error) for name in columns), error
        return
    WeightedRewards(reward)(ACTIONS, batch, C)
    shown = columns.keys() - {"image_positions"}
    assert given.keys() == shown | {"trainer_state"} and all(len(given[name]) == N for name in shown)


def reward_answers(data: st.DataObject) -> None:
    """An answer is numbers of which every estimator makes finite advantages, or an error names the reward."""
    answer = data.draw(st.one_of(tensors(), lists(), arrays_of_numbers(), SCALARS))
    error = data.draw(st.one_of(st.none(), st.none(), st.none(), errors()))

    def judge(predictions, references=None, **columns):
        if error is not None:
            raise error
        return answer

    batch = RewardBatch({"pixel_values": torch.zeros(B, 3, *SIZE), "labels": LABELS})
    rewards = WeightedRewards([judge, "mean_iou"])
    with documented("Reward 'judge'", RuntimeError):
        results = rewards(ACTIONS, batch, C)
        values = results["judge"]
        assert values.shape in ((K, B, 1, 1), (K, B, *GRID)) and values.dtype == torch.float32
        assert not (values.abs() > LARGEST_REWARD).any()
        with documented("reward_weights", RuntimeError):
            check_advantages(rewards.total(results))


def check_advantages(total: torch.Tensor) -> None:
    """They are finite by every rule."""
    for rule in (leave_one_out, functools.partial(pairwise_spatial_difference, actions=ACTIONS)):
        for scale_rewards in SCALE_REWARDS:
            with documented("must be >= 0", RuntimeError):
                advantages = normalize(rule(total), total, scale_rewards, torch.clone)
                assert advantages.isfinite().all(), (total, scale_rewards)


def shapes() -> st.SearchStrategy[tuple[int, ...]]:
    """Those that are right, and others."""
    right = st.sampled_from([(N,), (N, *SIZE)])
    return right | right | st.sampled_from([(), (1,), (N, 1), (K, B), (K, B, *SIZE), (N, *GRID), (0,), (N, *SIZE, 1)])


def arrays_of_numbers() -> st.SearchStrategy[np.ndarray]:
    """Of any type that numpy has, right shapes and wrong ones."""
    types = st.one_of(arrays.scalar_dtypes(), st.just(np.dtype("O")))
    return types.flatmap(
        lambda dtype: arrays.arrays(dtype, shapes(), elements=SCALARS if dtype.kind == "O" else None, fill=None)
    )


def lists() -> st.SearchStrategy[list]:
    """Of numbers, None, tensors and anything else, nested or not."""
    numbers = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.floats(-1, 1).map(torch.tensor))
    of_pixels = st.lists(
        st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=3, max_size=3), min_size=N, max_size=N
    )
    anything = st.recursive(SCALARS | tensors(), st.lists, max_leaves=12)
    return st.one_of(st.lists(numbers, min_size=N, max_size=N), of_pixels, st.lists(anything), anything)


@st.composite
def tensors(draw: Callable) -> torch.Tensor:
    """Of any type, layout and device that this machine has."""
    dtype = draw(st.sampled_from([part for part in vars(torch).values() if isinstance(part, torch.dtype)]))
    values = torch.from_numpy(draw(arrays.arrays(np.float64, shapes(), fill=st.floats())))
    try:
        tensor = values.to(dtype)
        if draw(st.booleans()):
            tensor = draw(st.sampled_from(FORMS))(tensor)
    except (RuntimeError, TypeError):  # torch has no such tensor
        return values
    return tensor


FORMS = [
    lambda tensor: tensor.to_sparse(),
    lambda tensor: tensor.to("meta"),
    lambda tensor: tensor.mT if tensor.ndim > 1 else tensor.flip(0),
    lambda tensor: tensor.requires_grad_(),
    lambda tensor: tensor.sum().expand(tensor.shape),
    lambda tensor: torch.nested.nested_tensor(list(tensor)),
    lambda tensor: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8),
    lambda tensor: tensor.unbind(),
    lambda tensor: (tensor, tensor),
]


def errors() -> st.SearchStrategy[BaseException]:
    """What a function may end with."""
    kinds = [ValueError, KeyError, OSError, RecursionError, MemoryError, StopIteration, GeneratorExit, SystemExit]
    return st.builds(lambda kind, text: kind(text), st.sampled_from(kinds), st.text())
