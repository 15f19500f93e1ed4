"""
Scores a segmentation model by the protocol of PASCAL VOC: at the size of the labels, over a whole split, without void.
Without masks, or beside them: by rewards of its most probable maps, at the size of the processed images.

    rss-hf evaluate --model outputs/shapes --dataset_name shapes
    rss-hf evaluate --model outputs/photos --dataset_name photos --reward_funcs judge:area_error
    accelerate launch -m rss_hf.cli.evaluate --model outputs/voc --dataset_name nateraw/pascal-voc-2012 --flip
"""

import json
import math
import os
import shlex
import sys
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator, DataLoaderConfiguration
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import PreTrainedConfig

from ..data import check_labels, collate, evaluation_examples, load_segmentation_dataset, reduces_labels, to_images
from ..data.columns import find_class_names
from ..evaluation import RewardScores, evaluate_model, segmentation_scores
from ..reporting.report import score_table
from ..rewards import RewardContext, WeightedRewards
from ..training import ignore_index_of, load_trained_model
from ..training.trainer_data import lacks_masks, name_views, need_masks, require_masks
from .arguments import DataArguments, parse_args
from .checks import check_window, check_writable
from .errors import one_line_errors


@dataclass
class EvaluateArguments:
    """What to score, and how."""

    _argument_group_name = "Evaluation"

    model: str = field(metadata={"help": "Hub id or folder of a segmentation model with its image processor."})
    reward_funcs: list[str] | None = field(
        default=None,
        metadata={"help": "Rewards to score by too, module:function; without masks, by these alone."},
    )
    reward_weights: list[float] | None = field(default=None, metadata={"help": "One weight for each reward."})
    output_file: str | None = field(default=None, metadata={"help": "JSON file for the scores, IoU in [0, 1]."})
    flip: bool = field(default=False, metadata={"help": "Average over each image and its mirror image."})
    window: list[int] | None = field(
        default=None, metadata={"help": "Slide a window of this HEIGHT WIDTH over the processed image, by half steps."}
    )
    batch_size: int = field(default=8, metadata={"help": "Images a process predicts at once."})
    num_workers: int = field(default=2, metadata={"help": "Processes that read images, for each that predicts."})
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of the model."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run the model code that the Hub id brings."})

    def __post_init__(self):
        check_window(self.window)
        if self.batch_size < 1 or self.num_workers < 0:
            raise ValueError(
                f"batch_size={self.batch_size} must be at least 1, num_workers={self.num_workers} at least 0."
            )
        if self.reward_funcs and (self.window is not None or self.flip):
            raise ValueError("reward_funcs judge plain maps: leave out window and flip, or score by masks alone.")
        if self.reward_weights and not self.reward_funcs:
            raise ValueError(f"reward_weights={self.reward_weights} has no effect without reward_funcs: leave it out.")


def main(argv: list[str] | None = None) -> None:
    """Runs the command."""
    with one_line_errors():
        evaluate(argv)


def evaluate(argv: list[str] | None) -> None:
    """Reads, predicts and scores."""
    args, data_args = parse_args(EvaluateArguments, DataArguments, argv=argv, description=__doc__)
    # Each process reads its own rows: rows read by one and dispatched would have to be of one size.
    accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(dispatch_batches=False))
    if data_args.streaming and accelerator.num_processes > 1:
        raise ValueError(
            f"--streaming on {accelerator.num_processes} processes would count some images twice, because the length "
            "of a stream is not known: use one process, or read the data set without --streaming."
        )
    if args.output_file is not None:
        check_output_file(Path(args.output_file))
    sys.path.append(os.getcwd())  # where a user's own rewards are
    rewards = WeightedRewards(args.reward_funcs, args.reward_weights) if args.reward_funcs else None
    model, processor = load_trained_model(args.model, args.model_revision, args.trust_remote_code)
    class_names, ignore_index = choose_class_names(args.model, model.config, data_args), ignore_index_of(model)

    with accelerator.main_process_first():
        options = vars(data_args) | {"class_names": class_names}
        data = load_segmentation_dataset(**options, require_train=False)
        check_labels(data.validation, len(class_names), "validation", data.mask_palette, reduces_labels(processor))
    dataset = evaluation_examples(
        data.validation,
        processor,
        views=rewards is not None and name_views(rewards.rewards),
        ignore_index=ignore_index,
        palette=data.mask_palette,
        num_classes=len(class_names),
    )
    check_judge(dataset, rewards)
    dataloader = DataLoader(dataset, batch_size=args.batch_size, num_workers=args.num_workers, collate_fn=collate)
    model, dataloader = accelerator.prepare_model(model, evaluation_mode=True), accelerator.prepare(dataloader)

    classes, scores = len(class_names), {}
    if rewards is not None:
        context = RewardContext(class_names, to_images=partial(to_images, processor))
        judged = RewardScores(model, rewards, classes, accelerator, ignore_index=ignore_index, context=context)
    total = None if data_args.streaming else len(dataloader)
    with tqdm(total=total, unit="batch", disable=not accelerator.is_main_process) as progress:

        def on_batch(inputs: dict[str, Any]) -> None:
            if rewards is not None:
                judged.add(inputs)
            progress.update()

        if lacks_masks(dataset):
            model.eval()
            for inputs in dataloader:
                on_batch(inputs)
        else:
            how = {"ignore_index": ignore_index, "window": args.window, "flip": args.flip}
            confusion = evaluate_model(model, dataloader, classes, accelerator, on_batch, **how)
            scores |= segmentation_scores(confusion, class_names)
        if rewards is not None:
            scores |= judged.means()
    if accelerator.is_main_process:
        print(score_table(scores, class_names))
        if args.output_file is not None:
            write_scores(Path(args.output_file), scores, {**asdict(args), **asdict(data_args)})
    accelerator.end_training()


def check_judge(examples: Dataset, rewards: WeightedRewards | None) -> None:
    """Raises a `ValueError` where there are no masks and nothing else judges, or a reward compares with masks."""
    remedy = "Name what judges the maps without masks as --reward_funcs, your own as module:function"
    if rewards is None:
        require_masks({"evaluation": examples}, "Mean IoU needs", remedy)
    elif names := need_masks(rewards.rewards):
        require_masks({"evaluation": examples}, f"Built-in rewards ({', '.join(names)}) need", remedy)


def choose_class_names(model_name: str, config: PreTrainedConfig, data_args: DataArguments) -> list[str]:
    """
    The names of a model's classes: those in its configuration, where it has names of its own.

    Raises:
        `ValueError`: the data set's names are given or known, and are not the model's.
    """
    names = [config.id2label[i] for i in range(config.num_labels)]
    named = names != [f"LABEL_{i}" for i in range(config.num_labels)]
    try:
        theirs = find_class_names(data_args.dataset_name, data_args.class_names)
    except ValueError:
        if data_args.class_names is not None:
            raise
        return names  # nobody says otherwise
    if len(theirs) != len(names):
        raise ValueError(
            f"{model_name} predicts {len(names)} classes but {data_args.dataset_name} has {len(theirs)}: evaluate on "
            "the classes the model was trained for."
        )
    for i, (name, their_name) in enumerate(zip(names, theirs, strict=True)):
        if named and name != their_name:
            raise ValueError(
                f"Class {i} is {name!r} for {model_name} and {their_name!r} in {data_args.dataset_name}: evaluate on "
                f"the classes the model was trained for. If it is one class, pass --class_names {shlex.join(names)}"
            )
    return theirs


def check_output_file(path: Path) -> None:
    """Raises a `ValueError` where a file cannot be written."""
    if path.is_dir():
        raise ValueError(f"--output_file {path} is a folder. Give a file in it, {path / 'scores.json'} say.")
    check_writable("output_file", path.parent)


def write_scores(path: Path, scores: dict[str, float], arguments: dict) -> None:
    """JSON of the arguments and the scores; those of absent classes, NaN, are null, as JSON has no NaN."""
    scores = {name: None if math.isnan(value) else value for name, value in scores.items()}
    path.write_text(json.dumps({"arguments": arguments, "scores": scores}, indent=2) + "\n")


if __name__ == "__main__":
    main()
