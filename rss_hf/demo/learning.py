"""One step of training made visible: maps drawn from the policy, their rewards, and what a pair of them changes."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps

from ..advantages import ESTIMATORS
from ..constants import IGNORE_INDEX
from ..data import mask_to_indices
from ..data.masks import reduce_ids, unknown_ids
from ..data.rows import turn_with_image
from ..data.transforms import reduces_labels
from ..policy import PixelPolicy, action_grid, upsample_actions
from ..reporting.figures import overlay
from ..rewards import REWARDS, RewardBatch, WeightedRewards
from .images import Refusal, open_picture, whole
from .models import Loaded
from .segment import NOT_FINITE, PALETTE, model_input
from .work import turns


SAMPLES = (2, 16)  # K, from and to
MAX_SAMPLED_PIXELS = 4_000_000  # of an image that maps are drawn of
STRIDES = (32, 16, 8, 4, 2)
REWARD_NAMES = tuple(REWARDS)
# Those that compare the maps of one step, and know of no step before it.
ESTIMATOR_NAMES = tuple(name for name, estimator in ESTIMATORS.items() if not estimator.required_columns)


@dataclass(frozen=True)
class Draw:
    """
    K maps drawn for one image.

    Attributes:
        actions (`torch.Tensor` of shape `(K, h, w)`): int64, on the action grid.
        rewards (`list[float]`): of each map; the mean over its sites for a pixel-level reward.
        advantages (`list[float]`): of each map; the mean over its sites for a pixel-level reward.
    """

    actions: torch.Tensor
    rewards: list[float]
    advantages: list[float]

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w), in sites."""
        return tuple(self.actions.shape[-2:])

    def maps(self, size: tuple[int, int]) -> list[np.ndarray]:
        """The K maps (H, W) uint8 at `size` = (H, W) pixels."""
        return list(upsample_actions(self.actions.to(torch.uint8), size).numpy())

    def differing(self, i: int, j: int) -> torch.Tensor:
        """The sites (h, w) bool at which the maps i and j, from 0, differ."""
        return self.actions[i] != self.actions[j]


def open_reference(path: str, stored: Image.Image, size: tuple[int, int], loaded: Loaded) -> np.ndarray:
    """
    The reference mask of an image, upright, from an uploaded file. It is turned as the masks of training are.

    Args:
        path (`str`): the file; its pixels are class ids, or the colours of PASCAL VOC.
        stored (`PIL.Image.Image`): the image as it is stored.
        size (`tuple[int, int]`): (W, H) of the image, upright.
        loaded ([`Loaded`]): the model, whose configuration says the classes and the ignore index.

    Returns:
        `np.ndarray` of shape `(H, W)`: uint8 in [0, C), or 255 where no map is compared.

    Raises:
        Refusal: if it is no mask of the model's classes, or of another size than the image.
    """
    num_classes = len(loaded.class_names)
    mask = ImageOps.exif_transpose(open_picture(path, "The mask"))
    try:
        mask = turn_with_image(mask, stored, size, "Reference")
        labels = mask_to_indices(mask, PALETTE[:num_classes], "Reference")
        reduce = reduces_labels(loaded.processor)
        if not reduce:
            labels[labels == loaded.ignore_index] = IGNORE_INDEX
    except ValueError as error:
        raise Refusal(str(error)) from error
    if unknown := unknown_ids(np.unique(labels), num_classes, reduce):
        raise Refusal(
            f"The mask has ids of no class of this model, {unknown[:10]}: its classes are {int(reduce)} to "
            f"{num_classes - 1 + reduce}, and {IGNORE_INDEX} is for pixels of no class."
        )
    labels = reduce_ids(labels) if reduce else labels
    if (labels == IGNORE_INDEX).all():
        raise Refusal("The mask has no pixel of a class: no map can be judged by it.")
    return labels


def draw(
    loaded: Loaded,
    image: Image.Image,
    reference: np.ndarray,
    num_samples: int,
    stride: int,
    reward: str,
    advantage_estimator: str,
    seed: int,
) -> Draw:
    """
    Draws K maps of an image and judges them, as one step of training does.

    Args:
        loaded ([`Loaded`]): the policy.
        image (`PIL.Image.Image`): of mode RGB and size (W, H).
        reference (`np.ndarray` of shape `(H, W)`): uint8 in [0, C) or 255; only the reward sees it.
        num_samples (`int`): K, in `SAMPLES`.
        stride (`int`): pixels of the model's input from site to site of the action grid, one of `STRIDES`.
        reward (`str`): one of `REWARD_NAMES`.
        advantage_estimator (`str`): one of `ESTIMATOR_NAMES`.
        seed (`int`): of the draw; the same seed draws the same maps.

    Raises:
        Refusal: if one of the numbers or names is none of these, or the image has too many pixels.
    """
    if image.width * image.height > MAX_SAMPLED_PIXELS:
        raise Refusal(
            f"The image has {image.width * image.height / 1e6:.1f} million pixels; maps are drawn of images with up "
            f"to {MAX_SAMPLED_PIXELS // 10**6} million. Make it smaller."
        )
    num_samples, seed = whole(num_samples, "number of maps"), whole(seed, "seed")
    stride = whole(stride, "stride")
    if not SAMPLES[0] <= num_samples <= SAMPLES[1]:
        raise Refusal(f"The number of maps is {num_samples}: give {SAMPLES[0]} to {SAMPLES[1]}.")
    for name, value, known in (
        ("stride", stride, STRIDES),
        ("reward", reward, REWARD_NAMES),
        ("advantage estimator", advantage_estimator, ESTIMATOR_NAMES),
    ):
        if value not in known:
            raise Refusal(f"The {name} is none of {', '.join(map(str, known))}.")
    if not 0 <= seed < 2**32:
        raise Refusal("The seed must be 0 or more and less than 4294967296.")
    references = torch.from_numpy(reference).long()[None]  # (1, H, W)
    loaded.dry_run.check(loaded.dry_run.input_size(*image.size))
    with turns.compute(), torch.no_grad():
        pixel_values = model_input(loaded, image)
        logits = loaded.model(pixel_values=pixel_values).logits.cpu()
        if not logits.isfinite().all():
            raise Refusal(NOT_FINITE)
        policy = PixelPolicy(logits, action_grid(tuple(pixel_values.shape[-2:]), stride))
        actions = policy.sample(num_samples, torch.Generator().manual_seed(seed))  # (K, 1, h, w)
        batch = RewardBatch({"pixel_values": pixel_values, "labels": references})
        rewards = WeightedRewards(reward)(actions, batch, policy.num_actions)[reward]
        estimator = ESTIMATORS[advantage_estimator]
        # No context: advantages, unlike weights, take nothing from a run.
        advantages = estimator(estimator.config_class(), None).advantages(rewards, actions)
    by_map = [values.nanmean((1, 2, 3)).tolist() for values in (rewards, advantages)]
    return Draw(actions[:, 0], *by_map)


def pair_pictures(drawn: Draw, image: Image.Image, i: int, j: int) -> list[Image.Image]:
    """The image in grey, twice, with the classes that map i, then map j, has where the two differ."""
    grey = image.convert("L").convert("RGB")
    size = (image.height, image.width)
    maps = upsample_actions(drawn.actions[[i, j]].where(drawn.differing(i, j), IGNORE_INDEX), size)
    return [overlay(grey, mask, PALETTE, alpha=0.75) for mask in maps]


def pair_text(drawn: Draw, i: int, j: int, reward: str) -> str:
    """What the pair of maps i and j, from 0, changes, as Markdown."""
    sites = math.prod(drawn.grid)
    count = int(drawn.differing(i, j).sum())
    difference = drawn.rewards[i] - drawn.rewards[j]
    text = (
        f"**Maps {i + 1} and {j + 1}** differ at {count} of {sites} sites. Their rewards ({reward}) are "
        f"{drawn.rewards[i]:.3f} and {drawn.rewards[j]:.3f}, a difference of {difference:+.3f}. "
    )
    if difference == 0 or count == 0:
        return text + "This pair changes nothing."
    better, worse = (i, j) if difference > 0 else (j, i)
    return text + (
        f"At these sites the classes of map {better + 1} become more likely and those of map {worse + 1} less likely. "
        "Where the two agree, this pair changes nothing."
    )
