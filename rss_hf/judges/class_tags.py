"""Rewards of what is known of a whole image without any mask: which classes it has, and how much of each."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch


# As fractions of the image:
SMALLEST_AREA = 0.02  # added to areas before their logarithm, so that none is infinite
TAGGED_AREA = 0.05  # what a tagged class has to cover


def class_tags(predictions: torch.Tensor, class_tags: Sequence[Any], class_names: list[str]) -> torch.Tensor:
    """
    How well a map agrees with the classes that its image is tagged with: the mean over all classes of
    log((min(a_c, 0.05) + 0.02) / 0.07) for a class that is tagged and -log((a_c + 0.02) / 0.02) for one that is not,
    where a_c is the fraction of the map that is of class c.

    It is 0 for any map that has each tagged class in 5 % of its pixels at least and no other class. Tags do not say
    where a class is: what places it is the network, which sees the same class in other images beside others.

    Args:
        predictions (`torch.Tensor` of shape `(N, H, W)`): int64 in [0, C).
        class_tags (`Sequence`): for each map the names or ids of its classes, background included where it is a class;
            or one text with commas between them; None where they are not known.
        class_names (`list[str]`): C names by class id.

    Returns:
        `torch.Tensor` of shape `(N,)`: float32 in [-4, 0], NaN where tags are not known.

    Raises:
        ValueError: for a tag that is no class.
    """
    areas = class_fractions(predictions, len(class_names))
    tagged, known = torch.zeros_like(areas, dtype=torch.bool), []
    for row, tags in enumerate(class_tags):
        ids = [] if tags is None else class_ids(tags, class_names)
        tagged[row, ids] = True
        known.append(tags is not None)
    found = ((areas.clamp(max=TAGGED_AREA) + SMALLEST_AREA) / (TAGGED_AREA + SMALLEST_AREA)).log()
    wrong = (areas / SMALLEST_AREA).log1p()
    scores = torch.where(tagged, found, -wrong).mean(1)
    return scores.where(torch.tensor(known, device=scores.device), torch.nan)


def class_areas(predictions: torch.Tensor, class_areas: Any, class_names: list[str]) -> torch.Tensor:
    """
    How well the areas of a map's classes agree with what is known of its image: minus the mean over all classes of
    |log((a_c + 0.02) / (b_c + 0.02))|, where a_c and b_c are the fractions of the map and of the image that are of
    class c. By ratios, so that a class that is rare counts as one that is frequent.

    Args:
        predictions (`torch.Tensor` of shape `(N, H, W)`): int64 in [0, C).
        class_areas: for each map C fractions of the image by class id, as a tensor (N, C), lists or arrays; or a
            mapping of class names to fractions, 0 for those left out; None where they are not known.
        class_names (`list[str]`): C names by class id.

    Returns:
        `torch.Tensor` of shape `(N,)`: float32 in [-4, 0], NaN where areas are not known.

    Raises:
        ValueError: for fractions that are not C, are below 0 or do not sum to 1, or a name that is no class.
    """
    known = torch.stack([fractions(areas, class_names) for areas in class_areas]).to(predictions.device)
    found = class_fractions(predictions, len(class_names))
    return -((found + SMALLEST_AREA) / (known + SMALLEST_AREA)).log().abs().mean(1)


def class_fractions(predictions: torch.Tensor, num_classes: int) -> torch.Tensor:
    """The fraction (N, C) float32 of each map (N, H, W) that is of each class."""
    counts = torch.zeros(len(predictions), num_classes, device=predictions.device)
    pixels = predictions.flatten(1)
    return counts.scatter_add_(1, pixels, torch.ones_like(pixels, dtype=counts.dtype)) / pixels.shape[1]


def class_ids(tags: Any, class_names: list[str]) -> list[int]:
    """The ids of tags: names, ids, or a text of names with commas between them."""
    if isinstance(tags, str):
        tags = [tag.strip() for tag in tags.split(",") if tag.strip()]
    ids = []
    for tag in tags:
        if isinstance(tag, str) and tag in class_names:
            ids.append(class_names.index(tag))
        elif not isinstance(tag, str) and 0 <= (i := int(tag)) < len(class_names):
            ids.append(i)
        else:
            raise ValueError(f"class_tags has {tag!r}, which is no class: the classes are {class_names}.")
    return ids


def fractions(areas: Any, class_names: list[str]) -> torch.Tensor:
    """The fractions (C,) float32 of an image's classes, NaN where they are not known."""
    if areas is None:
        return torch.full((len(class_names),), torch.nan)
    if isinstance(areas, Mapping):
        if unknown := sorted(set(areas) - set(class_names)):
            raise ValueError(f"class_areas has {unknown[0]!r}, which is no class: the classes are {class_names}.")
        areas = [areas.get(name) or 0.0 for name in class_names]
    values = torch.as_tensor(areas, dtype=torch.float32)
    if values.shape != (len(class_names),) or not (values >= 0).all() or abs(values.sum() - 1) > 0.01:
        raise ValueError(
            f"class_areas must be {len(class_names)} fractions of the image that sum to 1, one for each of "
            f"{class_names}; got {values.tolist()}."
        )
    return values
