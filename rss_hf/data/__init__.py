"""
Images and masks: `hub`, `local` and `columns` find them, `shapes` draws them, `rows`, `images` and `masks` decode
them, `checks` reads them all before training, `transforms` makes them tensors and `views` says of which part of an
image, `examples` and `from_rows` feed them, `batches` collates them.
"""

from ..constants import IGNORE_INDEX
from .batches import check_batch, collate
from .checks import check_labels, check_rows, check_splits
from .columns import VOC_CLASS_NAMES, VOC_DATASETS, rename_columns
from .examples import SegmentationDataset, StreamingSegmentationDataset, set_epoch
from .from_rows import evaluation_examples, labelled_examples, training_examples
from .hub import DataSource, SegmentationData, load_segmentation_dataset
from .images import IMAGE_SUFFIXES, open_image, to_upright_rgb
from .masks import mask_to_indices, parse_palette, voc_palette
from .shapes import load_shapes
from .transforms import EvalTransform, process_image, reduces_labels, to_images, train_transform


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
    "check_batch",
    "check_labels",
    "check_rows",
    "check_splits",
    "collate",
    "evaluation_examples",
    "labelled_examples",
    "load_segmentation_dataset",
    "load_shapes",
    "mask_to_indices",
    "open_image",
    "parse_palette",
    "process_image",
    "reduces_labels",
    "rename_columns",
    "set_epoch",
    "to_images",
    "to_upright_rgb",
    "train_transform",
    "training_examples",
    "voc_palette",
]
