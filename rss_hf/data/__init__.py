"""Where images and masks come from: `hub` loads and checks them, `shapes` draws them, `transforms` feeds them."""

from .hub import (
    VOC_CLASS_NAMES,
    VOID,
    SegmentationData,
    check_labels,
    load_segmentation_dataset,
    mask_to_indices,
    voc_palette,
)
from .shapes import load_shapes
from .transforms import EvalTransform, SegmentationDataset, StreamingSegmentationDataset, collate, train_transform


__all__ = [
    "VOC_CLASS_NAMES",
    "VOID",
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
