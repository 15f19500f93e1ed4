"""
Images and masks: `hub` finds them, `shapes` draws them, `images` and `masks` decode them, `transforms` makes them
tensors and `examples` feeds them.
"""

from .examples import SegmentationDataset, StreamingSegmentationDataset, collate
from .hub import VOC_CLASS_NAMES, DataSource, SegmentationData, load_segmentation_dataset
from .images import as_seen, open_image
from .masks import VOID, check_labels, mask_to_indices, voc_palette
from .shapes import load_shapes
from .transforms import EvalTransform, train_transform


__all__ = [
    "VOC_CLASS_NAMES",
    "VOID",
    "DataSource",
    "EvalTransform",
    "SegmentationData",
    "SegmentationDataset",
    "StreamingSegmentationDataset",
    "as_seen",
    "check_labels",
    "collate",
    "load_segmentation_dataset",
    "load_shapes",
    "mask_to_indices",
    "open_image",
    "train_transform",
    "voc_palette",
]
