"""Commands run in this process, on a data set of a few drawn images."""

import os
from unittest import mock

from accelerate.state import AcceleratorState
from transformers import SegformerConfig, SegformerForImageClassification, SegformerImageProcessor

from rss_hf.data.shapes import load_shapes

from .models import TINY


CONFIG = """
dataset_name: {folder}/images,{folder}/masks
class_names: [background, circle, square]
model_name_or_path: {folder}/encoder
image_size: [32, 32]
output_dir: {folder}/out
max_steps: 4
save_steps: 2
logging_steps: 1
eval_strategy: steps
eval_steps: 2
per_device_train_batch_size: 4
num_samples: 4
strides: [8, 4]
stride_warmup: 0.5
use_cpu: true
"""


def write_example(folder):
    """Pictures and masks in two folders, an encoder, and the YAML file, whose path is returned, of a run on them."""
    for split, rows in load_shapes(size=32, num_classes=3, num_train=12, num_validation=5).items():
        for i, row in enumerate(rows):
            for column in ("image", "mask"):
                path = folder / f"{column}s" / split / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                row[column].save(path)
    SegformerForImageClassification(SegformerConfig(num_labels=3, **TINY)).save_pretrained(folder / "encoder")
    SegformerImageProcessor().save_pretrained(folder / "encoder")
    (folder / "config.yaml").write_text(CONFIG.format(folder=folder))
    return folder / "config.yaml"


def run(main, *arguments):
    """`main` of a command, with accelerate as it is in a new process and the threads as they are."""
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        with mock.patch.dict(os.environ, OMP_NUM_THREADS="1"):
            main(list(map(str, arguments)))
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
