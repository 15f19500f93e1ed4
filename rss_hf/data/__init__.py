"""Images and masks: `hub` finds them, `shapes` draws them, `masks` decodes them, `transforms` feeds them."""

from .hub import VOC_CLASS_NAMES, DataSource, SegmentationData, load_segmentation_dataset
from .masks import VOID, check_labels, mask_to_indices, voc_palette
from .shapes import load_shapes
from .transforms import EvalTransform, SegmentationDataset, StreamingSegmentationDataset, collate, train_transform


__all__ = [
    "VOC_CLASS_NAMES",
    "VOID",
    "DataSource",
    "EvalTransform",
    "SegmentationData",
    "SegmentationDataset",
    "StreamingSegmentationDataset",
    "check_labels",
    "collate",
    "load_segmentation_dataset",
    "load_shapes",
    "mask_to_indices",
    "train_transform",
    "voc_palette",
]
