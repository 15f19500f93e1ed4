import math

import pytest
import torch

import rss_hf.rewards.segmentation as rewards_module
from rss_hf.rewards.confusion import cell_means, reference_histogram, upsample_actions
from rss_hf.rewards.segmentation import REWARDS, RewardSet, get_reward, pixel_match


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


def brute_force(name, prediction, reference):
    """One image's score from its definition, pixel by pixel in Python."""
    pairs = [
        (p, r) for p, r in zip(prediction.flatten().tolist(), reference.flatten().tolist(), strict=True) if r != 255
    ]
    if not pairs:
        return math.nan
    if name == "pixel_accuracy":
        return sum(p == r for p, r in pairs) / len(pairs)
    scores = []
    for c in range(C):
        tp = sum(p == r == c for p, r in pairs)
        predicted, actual = sum(p == c for p, _ in pairs), sum(r == c for _, r in pairs)
        if actual == 0 and (name != "mean_iou_union" or predicted == 0):
            continue
        numerator = {"dice": 2 * tp}.get(name, tp)
        denominator = {"dice": predicted + actual, "mean_accuracy": actual}.get(name, predicted + actual - tp)
        scores.append(numerator / denominator)
    return sum(scores) / len(scores)


@pytest.mark.parametrize("name", [name for name in REWARDS if name != "pixel_match" and "log_iou" not in name])
@pytest.mark.parametrize("grid", GRIDS)
def test_rewards_on_cells_equal_brute_force_on_pixels(name, grid):
    actions, references = scene(grid=grid)
    rewards = RewardSet([name])(actions, C, SIZE, references)[name]
    assert rewards.shape == (3, 3, 1, 1)
    maps = upsample_actions(actions, SIZE)
    expected = torch.tensor([[brute_force(name, maps[k, b], references[b]) for b in range(3)] for k in range(3)])
    torch.testing.assert_close(rewards[..., 0, 0], expected)
    called = REWARDS[name](maps.flatten(0, 1), references.repeat(3, 1, 1)).view(3, 3)
    torch.testing.assert_close(called, expected)


def log_iou_of(prediction, image, maps, references, earlier=None):
    """
    The pseudo-value of `prediction` in place of all maps (K, B, H, W) of its image, counted by its definition; the
    images of an `earlier` batch (maps, references), shown before this one, count exp(-B / 320) each.
    """
    images = [(1, maps[:, b], references[b]) for b in range(len(references))]
    if earlier is not None:
        images += [
            (math.exp(-len(references) / 320), *pair) for pair in zip(earlier[0].unbind(1), earlier[1], strict=True)
        ]
    present = [c for c in range(C) if any((reference == c).any() for _, _, reference in images)]

    def score(images):
        hits, union = torch.zeros(C), torch.zeros(C)
        for weight, some, reference in images:
            valid = reference != 255
            for c in range(C):
                found, actual = some[:, valid] == c, reference[valid] == c
                hits[c] += weight * (found & actual).sum() / len(some)
                union[c] += weight * (found | actual).sum() / len(some)
        return (hits / union.where(union > 0, 1) + 0.05).log()[present].mean()

    others = images[:image] + images[image + 1 :]
    without = score(others)
    num_images = sum(weight for weight, _, _ in images)
    return without + num_images * (score([*others, (1, prediction[None], references[image])]) - without)


@pytest.mark.parametrize("name", ["batch_log_iou", "running_log_iou"])
@pytest.mark.parametrize("grid", GRIDS)
def test_log_iou_is_the_pseudo_value_of_a_map_among_the_images_counted(grid, name):
    """Of its batch, or in a set that has been shown an earlier batch also of that."""
    reward_set, earlier = RewardSet([name]), None
    for seed, batch_size in ((0, 3), (1, 2)):
        actions, references = scene(seed, batch_size=batch_size, grid=grid)
        maps = upsample_actions(actions, SIZE)
        rewards = reward_set(actions, C, SIZE, references)[name]
        assert rewards.shape == (3, batch_size, 1, 1)
        expected = [
            [log_iou_of(maps[k, b], b, maps, references, earlier) for b in range(batch_size)] for k in range(3)
        ]
        torch.testing.assert_close(rewards[..., 0, 0], torch.tensor(expected))
        earlier = (maps, references) if name == "running_log_iou" else None
    called = REWARDS[name](maps[0], references)  # a batch of one map an image
    expected = [log_iou_of(maps[0, b], b, maps[:1], references) for b in range(2)]
    torch.testing.assert_close(called, torch.tensor(expected))


def test_batch_log_iou_leaves_out_an_image_without_a_valid_pixel():
    actions, references = scene(grid=(5, 7))
    alone = RewardSet(["batch_log_iou"])(actions[:, :2], C, SIZE, references[:2])["batch_log_iou"]
    references[2] = 255
    rewards = RewardSet(["batch_log_iou"])(actions, C, SIZE, references)["batch_log_iou"]
    assert rewards[:, 2].isnan().all()
    torch.testing.assert_close(rewards[:, :2], alone)


@pytest.mark.parametrize("grid", GRIDS)
def test_pixel_match_is_the_fraction_of_a_cells_valid_pixels(grid):
    actions, references = scene(grid=grid)
    rewards = RewardSet(["pixel_match"])(actions, C, SIZE, references)["pixel_match"]
    maps = upsample_actions(actions, SIZE)
    right = (maps == references).float().masked_fill(references == 255, torch.nan)
    expected = cell_means(right.flatten(0, 1), grid).view(3, 3, *grid)
    torch.testing.assert_close(rewards, expected, equal_nan=True)
    torch.testing.assert_close(pixel_match(maps[0], references), right[0], equal_nan=True)


def test_upsampling_is_torch_nearest():
    actions = torch.randint(9, (2, 3, 5, 3))
    expected = torch.nn.functional.interpolate(actions.float(), size=SIZE, mode="nearest").long()
    assert torch.equal(upsample_actions(actions, SIZE), expected)


def test_the_histogram_counts_every_valid_pixel_once():
    _, references = scene()
    histogram = reference_histogram(references, (5, 3), C)
    assert torch.equal(histogram.sum((1, 2, 3)), (references != 255).sum((1, 2)).float())
    for c in range(C):
        assert torch.equal(histogram.sum((2, 3))[:, c], (references == c).sum((1, 2)).float())


@pytest.mark.parametrize("name", list(REWARDS))
def test_void_counts_nowhere(name):
    actions, references = scene(grid=SIZE)
    changed = actions.clone()
    changed[:, references == 255] = (changed[:, references == 255] + 1) % C
    before, after = (RewardSet([name])(a, C, SIZE, references)[name] for a in (actions, changed))
    torch.testing.assert_close(before, after, equal_nan=True, rtol=0, atol=0)
    references[1] = 255
    assert RewardSet([name])(actions, C, SIZE, references)[name][:, 1].isnan().all()


def count_of_class_one(predictions, references=None, **columns):
    return (predictions == 1).float().sum((1, 2))


def test_a_black_box_gets_maps_columns_and_state():
    actions, references = scene()
    seen = {}

    def reward(predictions, references=None, **columns):
        seen.update(columns, predictions=predictions, references=references)
        return columns["bonus"] + torch.tensor([len(name) for name in columns["id"]])

    rewards = RewardSet([reward])(
        actions, C, SIZE, references, bonus=torch.tensor([10.0, 20, 30]), id=["a", "bb", "ccc"], trainer_state="state"
    )["reward"]
    assert torch.equal(rewards[..., 0, 0], torch.tensor([[11.0, 22, 33]] * 3))
    assert torch.equal(seen["predictions"].view(3, 3, *SIZE), upsample_actions(actions, SIZE))
    assert torch.equal(seen["references"].view(3, 3, *SIZE)[1], references)
    assert seen["trainer_state"] == "state"


@pytest.mark.parametrize("level", ["image", "pixel"])
def test_many_maps_are_judged_in_several_calls(level, monkeypatch):
    actions, references = scene(num_samples=5)
    calls = []

    def agreement(predictions, references=None, weight=None, **columns):
        calls.append(len(predictions))
        equal = (predictions == references).float() * weight[:, None, None]
        return equal.mean((1, 2)) if level == "image" else equal

    def judged():
        weight = torch.tensor([1.0, 2, 3])
        return RewardSet([agreement])(actions, C, SIZE, references, weight=weight, trainer_state=None)["agreement"]

    at_once = judged()
    monkeypatch.setattr(rewards_module, "PIXELS_PER_CALL", 2 * math.prod((3, *SIZE)))
    assert torch.equal(judged(), at_once) and calls == [15, 6, 6, 3]


def test_references_are_none_without_masks():
    actions, _ = scene()
    rewards = RewardSet([count_of_class_one])(actions, C, SIZE)["count_of_class_one"]
    torch.testing.assert_close(rewards[..., 0, 0], (upsample_actions(actions, SIZE) == 1).float().sum((2, 3)))
    with pytest.raises(RuntimeError, match="'mean_iou'.*no.*mask|'mean_iou'.*reference mask"):
        RewardSet(["mean_iou"])(actions, C, SIZE)


def test_the_total_is_the_weighted_sum_of_what_applies():
    rewards = {
        "image": torch.tensor([1.0, torch.nan]).view(1, 2, 1, 1),
        "pixel": torch.tensor([[2.0, torch.nan], [torch.nan, torch.nan]]).view(1, 2, 1, 2),
    }
    total = RewardSet(["dice", "pixel_match"], [3.0, 0.5]).total(rewards)
    expected = torch.tensor([[4.0, 3.0], [torch.nan, torch.nan]]).view(1, 2, 1, 2)
    torch.testing.assert_close(total, expected, equal_nan=True)


BAD = {
    "shape": (
        lambda predictions, **_: torch.zeros(2, 7),
        r"returned shape \(2, 7\); expected .*\(9,\).*\(9, 13, 10\)",
    ),
    "type": (lambda predictions, **_: [0.0] * 9, "returned a list; expected a tensor"),
    "infinite": (lambda predictions, **_: torch.full((9,), torch.inf), "returned an infinite value"),
    "raises": (lambda predictions, **_: 1 / 0, "raised ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("fault", list(BAD))
def test_a_bad_reward_is_named(fault):
    reward, message = BAD[fault]
    reward.__name__ = f"judge_{fault}"
    actions, references = scene()
    with pytest.raises(RuntimeError, match=f"'judge_{fault}' {message}"):
        RewardSet([reward])(actions, C, SIZE, references)


def test_finding_rewards():
    assert get_reward("mean_iou") is REWARDS["mean_iou"]
    assert get_reward("rss_hf.rewards:dice") is REWARDS["dice"]
    for name, message in {
        "mean_iuo": "No reward named 'mean_iuo'",
        "no_such_module:reward": "could not be imported",
        "rss_hf.rewards:no_such": "could not be imported",
        "rss_hf.agreement:VOID": "is a int, not a callable",
    }.items():
        with pytest.raises(ValueError, match=message):
            get_reward(name)
    with pytest.raises(ValueError, match="distinct names"):
        RewardSet(["dice", "dice"])
    with pytest.raises(ValueError, match="as many weights"):
        RewardSet(["dice"], [1.0, 2.0])
