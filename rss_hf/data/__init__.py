"""
Images and masks: `hub`, `local` and `columns` find them, `shapes` draws them, `rows`, `images` and `masks` decode
them, `transforms` makes them tensors and `examples` feeds them.
"""

from ..constants import IGNORE_INDEX
from .columns import VOC_CLASS_NAMES, VOC_DATASETS, rename_columns
from .examples import (
    SegmentationDataset,
    StreamingSegmentationDataset,
    collate,
    evaluation_examples,
    training_examples,
)
from .hub import DataSource, SegmentationData, load_segmentation_dataset
from .images import IMAGE_SUFFIXES, open_image, to_upright_rgb
from .masks import mask_to_indices, parse_palette, voc_palette
from .rows import check_labels
from .shapes import load_shapes
from .transforms import EvalTransform, train_transform


__all__ = [
    "IGNORE_INDEX",
    "IMAGE_SUFFIXES",
    "VOC_CLASS_NAMES",
    "VOC_DATASETS",
    "DataSource",
    "EvalTransform",
    "SegmentationData",
    "SegmentationDataset",
    "StreamingSegmentationDataset",
    "check_labels",
    "collate",
    "evaluation_examples",
    "load_segmentation_dataset",
    "load_shapes",
    "mask_to_indices",
    "open_image",
    "parse_palette",
    "rename_columns",
    "to_upright_rgb",
    "train_transform",
    "training_examples",
    "voc_palette",
]
