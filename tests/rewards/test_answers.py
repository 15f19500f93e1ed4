"""What a reward may return, and that anything else is refused under its name."""

import fractions

import numpy as np
import pytest
import torch
from helpers.scenes import SIZE, C, batch_of, scene

from rss_hf.rewards import WeightedRewards


N = 9  # maps of a scene


def rewards_of(answer):
    def judge(predictions, references=None, **columns):
        return answer

    actions, references = scene()
    return WeightedRewards([judge])(actions, batch_of(references), C)["judge"]


COUNT = np.arange(N)
ACCEPTED = {
    "int8 tensor": torch.arange(N, dtype=torch.int8),
    "uint16 tensor": torch.arange(N).to(torch.uint16),
    "bfloat16 tensor": torch.arange(N).bfloat16(),
    "float64 tensor": torch.arange(N).double(),
    "parameter": torch.nn.Parameter(torch.arange(N).float()),
    "strided view": torch.arange(2 * N)[::2] / 2,
    "list": COUNT.tolist(),
    "tuple": tuple(COUNT.tolist()),
    "numpy numbers": list(np.float32(COUNT)),
    "array": np.float16(COUNT),
    "big-endian array": COUNT.astype(">f8"),
    "backward array": COUNT[::-1].copy()[::-1],
    "tensors": list(torch.arange(N)),
    "parameters": [torch.nn.Parameter(torch.tensor(float(i))) for i in range(N)],
    "fractions": [fractions.Fraction(i) for i in range(N)],
}


@pytest.mark.parametrize("kind", list(ACCEPTED))
def test_numbers_are_numbers(kind):
    rewards = rewards_of(ACCEPTED[kind])
    assert rewards.dtype == torch.float32 and not rewards.requires_grad
    assert rewards.flatten().tolist() == COUNT.tolist()


@pytest.mark.parametrize(
    "answer",
    [
        [None, True] * 4 + [0.0],
        [torch.nan, 1] * 4 + [False],
        [None, torch.tensor(True)] * 4 + [0.0],
        np.array([None, 1.0] * 4 + [0], dtype=object),
        np.ma.array([7, 1] * 4 + [0], mask=[True, False] * 4 + [False]),
        torch.tensor([torch.nan, 1] * 4 + [0]),
    ],
)
def test_what_does_not_apply_is_nan(answer):
    expected = torch.tensor([torch.nan, 1] * 4 + [0]).view(3, 3, 1, 1)
    assert torch.equal(rewards_of(answer).nan_to_num(5), expected.nan_to_num(5))


@pytest.mark.parametrize("make", [np.asarray, torch.Tensor.tolist, list, torch.Tensor.bool])
def test_pixel_level_answers_of_any_kind(make):
    pixels = (torch.rand(N, *SIZE) < 0.5).float()
    assert torch.equal(rewards_of(make(pixels)), rewards_of(pixels)) and rewards_of(pixels).shape == (3, 3, 5, 3)


def quantized():
    return torch.quantize_per_tensor(torch.zeros(N), 0.1, 0, torch.quint8)


REFUSED = {
    "complex tensor": (lambda: torch.zeros(N, dtype=torch.complex64), "tensor of torch.complex64"),
    "sparse tensor": (lambda: torch.zeros(N, *SIZE).to_sparse(), "torch.sparse_coo tensor"),
    "meta tensor": (lambda: torch.zeros(N, device="meta"), "on device 'meta'"),
    "quantized tensor": (quantized, "tensor of torch.quint8"),
    "nested tensor": (lambda: torch.nested.nested_tensor([torch.zeros(1)] * N), "nested tensor"),
    "bits": (lambda: torch.zeros(N, dtype=torch.uint8).view(torch.bits8), "tensor of torch.bits8"),
    "one number": (lambda: torch.tensor(0.5), r"shape \(\)"),
    "a float": (lambda: 0.5, r"shape \(\)"),
    "a column": (lambda: torch.zeros(N, 1), r"shape \(9, 1\)"),
    "too many": (lambda: torch.zeros(N + 1), r"shape \(10,\)"),
    "none of them": (lambda: [], r"shape \(0,\)"),
    "other pixels": (lambda: torch.zeros(N, *SIZE[::-1]), r"shape \(9, 10, 13\)"),
    "nothing": (lambda: None, "a NoneType"),
    "text": (lambda: "good", "a str"),
    "a dict": (lambda: {"score": 1.0}, "a dict"),
    "a generator": (lambda: (0.5 for _ in range(N)), "a generator"),
    "texts": (lambda: ["0.5"] * N, "a list of <U3"),
    "texts among numbers": (lambda: np.array([0.5, "a"] + [0.5] * 7, dtype=object), "a ndarray that holds a str"),
    "dates": (lambda: np.zeros(N, dtype="datetime64[s]"), "a ndarray of datetime64"),
    "complex numbers": (lambda: [1j] * N, "a list of complex128"),
    "masked complex numbers": (lambda: np.ma.zeros(N, dtype=complex), "a MaskedArray of complex128"),
    "ragged": (lambda: [[0.5]] * 8 + [[0.5, 0.5]], "a list that makes no array"),
    "ragged tensors": (lambda: [torch.zeros(1)] * 8 + [torch.zeros(2)], "a list of tensors of shapes"),
    "complex tensors": (lambda: [torch.tensor(1j)] * N, "tensor of torch.complex64"),
    "huge integers": (lambda: [10**400] * N, "too large"),
    "infinite": (lambda: torch.full((N,), -torch.inf), "an infinite value or one beyond"),
    "infinite in float32": (lambda: torch.full((N,), 1e300, dtype=torch.float64), "an infinite value or one beyond"),
    "1e38": (lambda: [0.0] * 8 + [1e38], "an infinite value or one beyond"),
    "-1e38 on pixels": (lambda: torch.full((N, *SIZE), -1e38), "an infinite value or one beyond"),
}


@pytest.mark.parametrize("kind", list(REFUSED))
def test_what_is_no_answer_is_refused_by_name(kind):
    make, message = REFUSED[kind]
    with pytest.raises(RuntimeError, match=f"Reward 'judge' returned .*{message}"):
        rewards_of(make())


def test_the_largest_rewards_are_taken():
    answer = torch.tensor([1e12, -1e12] + [0.0] * (N - 2))
    assert torch.equal(rewards_of(answer).flatten(), answer)
