"""What users give trainers as data: rows or examples, their image processor and the number of their classes."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import datasets
from torch import nn
from transformers import BaseImageProcessor, PreTrainedModel
from transformers.trainer_utils import has_length
from transformers.utils import logging

from ..constants import IGNORE_INDEX
from ..data import (
    EvalTransform,
    SegmentationData,
    SegmentationDataset,
    StreamingSegmentationDataset,
    check_splits,
    evaluation_examples,
    reduces_labels,
    rename_columns,
    training_examples,
)
from ..data.columns import columns_in_words, known_features
from ..data.views import VIEW_COLUMNS
from ..rewards import REWARDS
from .model_loading import MAX_CLASSES, load_image_processor


logger = logging.get_logger(__name__)


def as_list(dataset: Any) -> list[Any]:
    """One evaluation set, or several by name, as a list."""
    return list(dataset.values()) if isinstance(dataset, dict) else [dataset]


def check_dataset(dataset: Any) -> None:
    """Raises a ValueError for what holds data sets and is none, and for an empty one."""
    if isinstance(dataset, str):
        raise ValueError(
            f"A data set is given by its name, {dataset!r}: load it, and give its rows. "
            "rss_hf.data.load_segmentation_dataset loads folders and Hub ids."
        )
    if isinstance(dataset, SegmentationData | datasets.DatasetDict):
        raise ValueError(
            f"A {type(dataset).__name__} holds several splits: give train_dataset and eval_dataset one of them each."
        )
    if has_length(dataset) and len(dataset) == 0:
        raise ValueError("A data set without rows was given: add images, or leave it out.")


def holds_images(rows: Any) -> bool:
    """Whether these are rows of a 🤗 data set, of which examples are to be made."""
    if not isinstance(rows, datasets.Dataset | datasets.IterableDataset) or rows.features is None:
        return False
    return any(isinstance(feature, datasets.Image) for feature in rows.features.values())


def find_image_processor(model: nn.Module, *examples: Any) -> BaseImageProcessor | None:
    """The image processor that examples were made with, or the one saved with the model; for rows SegFormer's own."""
    for dataset in examples:
        made_here = isinstance(dataset, SegmentationDataset | StreamingSegmentationDataset)
        if made_here and isinstance(dataset.transform, EvalTransform):
            return dataset.transform.image_processor
    if isinstance(model, PreTrainedModel) and model.config.name_or_path:
        try:
            return load_image_processor(model.config.name_or_path, local_files_only=True)
        except (OSError, ValueError) as error:
            logger.warning(f"{model.config.name_or_path} has no image processor: {error}")
    if any(map(holds_images, examples)):
        processor = load_image_processor(None)
        logger.warning(
            f"No processing_class is given, so images are resized to {processor.size['height']}x"
            f"{processor.size['width']} pixels; rss_hf.training.load_image_processor(None, (height, width)) makes "
            "one of another size."
        )
        return processor
    logger.warning("No image processor is saved with the model, so prediction cannot know how images were processed.")
    return None


def count_classes(
    rows: list[datasets.Dataset | datasets.IterableDataset],
    palette: Sequence[str | Sequence[int]] | None,
    reduce_labels: bool,
) -> int:
    """
    One more than the greatest id in the masks of some rows. The other arguments are those of
    [`~rss_hf.data.check_splits`].

    Raises:
        ValueError: rows without masks, or a stream, or masks that cannot be read.
    """
    named = {f"{i}": rename_columns(dataset) for i, dataset in enumerate(rows)}
    contents = check_splits(named, MAX_CLASSES, palette, reduce_labels)
    ids = {i - reduce_labels for content in contents for i in content.pixels} - {-1, IGNORE_INDEX - reduce_labels}
    if not ids:
        raise ValueError(
            "The model's checkpoint does not say how many classes there are, and the rows have no masks that could. "
            "Say it in args: model_init_kwargs={'num_labels': ...}."
        )
    logger.warning(f"{max(ids) + 1} classes, after the greatest id in the masks. model_init_kwargs may name them.")
    return max(ids) + 1


def make_examples(
    training: Any, evaluation: dict[str, Any], settings: dict[str, Any], of_training: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """
    Makes examples of those data sets that are rows. All rows are read before, for faults.

    Args:
        training: the training set.
        evaluation (`dict`): evaluation sets by name.
        settings (`dict`): those of [`~rss_hf.data.evaluation_examples`], by name.
        of_training (`dict`): what [`~rss_hf.data.training_examples`] takes beside these.

    Returns:
        `tuple`: both, examples in the place of rows.

    Raises:
        ValueError: rows that cannot be read; it lists all of them.
    """
    named = {f"evaluation set {name}" if name == "train" else name: rows for name, rows in evaluation.items()}
    named = {"train": training} | named
    rows = {name: rename_columns(dataset) for name, dataset in named.items() if holds_images(dataset)}
    if rows:
        reduce_labels = reduces_labels(settings["image_processor"])
        check_splits(rows, settings["num_classes"], settings["palette"], reduce_labels)
    if holds_images(training):
        training = training_examples(training, **settings, **of_training)
    evaluation = {
        name: evaluation_examples(dataset, **settings) if holds_images(dataset) else dataset
        for name, dataset in evaluation.items()
    }
    return training, evaluation


def named_arguments(reward: Callable) -> set[str]:
    """What a reward, or the function it wraps, names in its signature; nothing where it has none, as some of C."""
    try:
        signatures = [inspect.signature(reward, follow_wrapped=follow) for follow in (False, True)]
    except ValueError:
        return set()
    return {name for signature in signatures for name in signature.parameters}


def name_views(rewards: Iterable[Callable]) -> bool:
    """Whether a reward names one of the columns that say which part of its image an example shows."""
    return any(named_arguments(reward) & set(VIEW_COLUMNS) for reward in rewards)


def need_masks(rewards: Iterable[Callable]) -> list[str]:
    """The names of the built-in rewards among these that compare with masks."""
    return [name for name, reward in REWARDS.items() if reward in rewards and "references" in named_arguments(reward)]


def require_masks(datasets_by_name: dict[str, Any], who: str, remedy: str) -> None:
    """
    Raises a ValueError for examples made of rows without masks. It says who needs masks, what there is and the remedy.
    """
    for name, examples in datasets_by_name.items():
        if lacks_masks(examples):
            words = columns_in_words(known_features(examples.dataset))
            raise ValueError(
                f"{who} masks, and the {name} data has none: {words}. {remedy}; or, if there are masks, give the name "
                "of their column as mask_column."
            )


def lacks_masks(examples: Any) -> bool:
    """Whether these are examples that were made of rows without masks."""
    made_here = isinstance(examples, SegmentationDataset | StreamingSegmentationDataset)
    return made_here and "mask" not in known_features(examples.dataset)
