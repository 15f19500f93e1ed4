"""
Scores a segmentation model by the protocol of PASCAL VOC: at the size of the labels, over a whole split, without void.

    python scripts/evaluate.py --model outputs/shapes --dataset_name shapes
    accelerate launch scripts/evaluate.py --model outputs/voc --dataset_name nateraw/pascal-voc-2012 --flip
"""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from rss_hf.cli.arguments import DataArguments, parse_args
from rss_hf.data import (
    EvalTransform,
    SegmentationDataset,
    StreamingSegmentationDataset,
    check_labels,
    collate,
    load_segmentation_dataset,
)
from rss_hf.evaluation.metrics import segmentation_scores
from rss_hf.evaluation.predict import evaluate_model
from rss_hf.reporting.report import score_table


@dataclass
class EvaluateArguments:
    """What to score, and how."""

    model: str = field(metadata={"help": "Hub id or folder of a segmentation model with its image processor."})
    output_file: str | None = field(default=None, metadata={"help": "JSON file for the scores, in [0, 1]."})
    flip: bool = field(default=False, metadata={"help": "Average over each image and its mirror image."})
    window: list[int] | None = field(
        default=None, metadata={"help": "Slide a window of this HEIGHT WIDTH over the processed image, by half steps."}
    )
    batch_size: int = field(default=8, metadata={"help": "Images a process predicts at once."})
    num_workers: int = field(default=2, metadata={"help": "Processes that read images, for each that predicts."})
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of the model."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run the model code that the Hub id brings."})


def main():
    args, data_args = parse_args(EvaluateArguments, DataArguments)
    # Each process reads its own rows: rows read by one and dispatched would have to be of one size.
    accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(dispatch_batches=False))
    if data_args.streaming and accelerator.num_processes > 1:
        raise ValueError(
            f"--streaming on {accelerator.num_processes} processes would count some images twice, because the length "
            "of a stream is not known: use one process, or read the data set without --streaming."
        )
    source = {"revision": args.model_revision, "trust_remote_code": args.trust_remote_code}
    model = AutoModelForSemanticSegmentation.from_pretrained(args.model, dtype=torch.float32, **source)
    transform = EvalTransform(AutoImageProcessor.from_pretrained(args.model, **source))

    with accelerator.main_process_first():
        data = load_segmentation_dataset(**vars(data_args))
        check_labels(data.validation, len(data.class_names), "validation")
    if model.config.num_labels != len(data.class_names):
        raise ValueError(
            f"{args.model} predicts {model.config.num_labels} classes but {data_args.dataset_name} has "
            f"{len(data.class_names)}: evaluate on the classes the model was trained for."
        )
    dataset_class = StreamingSegmentationDataset if data_args.streaming else SegmentationDataset
    dataset = dataset_class(data.validation, transform)
    dataloader = DataLoader(dataset, batch_size=args.batch_size, num_workers=args.num_workers, collate_fn=collate)
    model, dataloader = accelerator.prepare_model(model, evaluation_mode=True), accelerator.prepare(dataloader)

    total = None if data_args.streaming else len(dataloader)
    with tqdm(total=total, unit="batch", disable=not accelerator.is_main_process) as progress:
        confusion = evaluate_model(
            model,
            dataloader,
            len(data.class_names),
            accelerator,
            lambda step: progress.update(),
            window=args.window,
            flip=args.flip,
        )
    if accelerator.is_main_process:
        scores = segmentation_scores(confusion, data.class_names)
        print(score_table(scores, data.class_names))
        if args.output_file is not None:
            write_scores(Path(args.output_file), scores, {**asdict(args), **asdict(data_args)})
    accelerator.end_training()


def write_scores(path: Path, scores: dict[str, float], arguments: dict):
    """JSON of the arguments and the scores; those of absent classes, NaN, are null, as JSON has no NaN."""
    scores = {name: None if math.isnan(value) else value for name, value in scores.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"arguments": arguments, "scores": scores}, indent=2) + "\n")


if __name__ == "__main__":
    main()
