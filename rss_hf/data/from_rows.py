"""Rows of a data set as the examples that a model's image processor asks for."""

import copy
import logging
from collections.abc import Sequence

import datasets
from torch.utils.data import Dataset, Subset
from transformers.image_processing_utils import BaseImageProcessor

from ..constants import IGNORE_INDEX
from .columns import Rows, known_features, rename_columns
from .examples import SegmentationDataset, StreamingSegmentationDataset
from .rows import is_missing
from .transforms import SCALE_RANGE, EvalTransform, like_processor, reduces_labels, train_transform


logger = logging.getLogger(__name__)


def training_examples(
    rows: Rows,
    image_processor: BaseImageProcessor,
    *,
    image_size: tuple[int, int] | None = None,
    scale_range: tuple[float, float] = SCALE_RANGE,
    photometric_distortion: bool = True,
    seed: int = 42,
    positions: bool = False,
    views: bool = False,
    whole_images: bool | None = None,
    ignore_index: int = IGNORE_INDEX,
    palette: Sequence[str | Sequence[int]] | None = None,
    num_classes: int | None = None,
) -> SegmentationDataset | StreamingSegmentationDataset:
    """
    Rows as augmented examples, with pixel values and class ids as the image processor makes them: its mean, deviation,
    factor, order of channels and `do_reduce_labels` are obeyed.

    Args:
        rows (`datasets.Dataset` or `datasets.IterableDataset`):
            A column of images and maybe one of masks, found by [`rename_columns`]; without masks the examples have no
            `labels`. Other columns come along.
        image_processor (`BaseImageProcessor`):
            The one of the model.
        image_size (`tuple[int, int]`, *optional*, defaults to the size that the image processor makes):
            Height and width of the examples, in pixels.
        scale_range, photometric_distortion:
            As for [`train_transform`]. Whole images are not scaled at random.
        whole_images (`bool`, *optional*, defaults to whether the rows have no masks):
            Show whole images, resized to `image_size`, instead of parts of them.
        seed, positions, views, ignore_index, palette, num_classes:
            As for [`SegmentationDataset`].

    Returns:
        [`SegmentationDataset`], or [`StreamingSegmentationDataset`] for a stream.

    Raises:
        `ValueError`: `image_size` left out where the processor has no height and width, `positions` of a stream, or
        what the data sets refuse.
    """
    rows = rename_columns(rows)
    transform = train_transform(
        _processed_size(image_processor) if image_size is None else tuple(image_size),
        **like_processor(image_processor),
        scale_range=scale_range,
        photometric_distortion=photometric_distortion,
        ignore_index=ignore_index,
        whole_images="mask" not in rows.column_names if whole_images is None else whole_images,
    )
    options = (ignore_index, palette, num_classes, reduces_labels(image_processor), views)
    if not isinstance(rows, datasets.IterableDataset):
        return SegmentationDataset(rows, transform, seed, positions, *options)
    if positions:
        raise ValueError(
            "positions needs random access to the rows, which a stream does not give. Load the data set without "
            "streaming."
        )
    return StreamingSegmentationDataset(rows, transform, seed, *options)


def evaluation_examples(
    rows: Rows,
    image_processor: BaseImageProcessor,
    *,
    views: bool = False,
    ignore_index: int = IGNORE_INDEX,
    palette: Sequence[str | Sequence[int]] | None = None,
    num_classes: int | None = None,
) -> SegmentationDataset | StreamingSegmentationDataset:
    """
    Rows as examples to score: pixel values as [`~rss_hf.data.process_image`] makes them, labels of the size of the
    mask.

    The arguments are those of [`training_examples`].
    """
    rows, transform = rename_columns(rows), EvalTransform(image_processor)
    kind = StreamingSegmentationDataset if isinstance(rows, datasets.IterableDataset) else SegmentationDataset
    return kind(
        rows,
        transform,
        ignore_index=ignore_index,
        palette=palette,
        num_classes=num_classes,
        reduce_labels=reduces_labels(image_processor),
        views=views,
    )


def labelled_examples(examples: Dataset) -> Dataset:
    """
    Those of some examples whose row has a mask; others than [`SegmentationDataset`] and
    [`StreamingSegmentationDataset`] as they are.
    """
    if isinstance(examples, StreamingSegmentationDataset) and "mask" in known_features(examples.dataset):
        examples = copy.copy(examples)
        examples.dataset = examples.dataset.filter(lambda row: not is_missing(row["mask"]))
    elif isinstance(examples, SegmentationDataset) and "mask" in examples.dataset.column_names:
        masks = examples.dataset.select_columns(["mask"])
        labelled = [index for index, row in enumerate(masks) if not is_missing(row["mask"])]
        if len(labelled) < len(examples):
            logger.warning(
                "%d of %d rows have no mask and are left out.", len(examples) - len(labelled), len(examples)
            )
            return Subset(examples, labelled)
    return examples


def _processed_size(image_processor: BaseImageProcessor) -> tuple[int, int]:
    config = image_processor.to_dict()
    size = dict(config["crop_size"] if config.get("do_center_crop") else config["size"])
    if set(size) != {"height", "width"}:
        raise ValueError(
            f"The size of the image processor, {size}, does not say a height and a width. Pass image_size, the "
            "(height, width) of training examples in pixels."
        )
    return size["height"], size["width"]
