"""
Reads all images and masks of a data set, as training does before its first step: what there is, and every fault.

    rss-hf check-data --dataset_name photos,masks --class_names background road car
"""

import sys
from dataclasses import dataclass, field

import pandas as pd

from ..constants import IGNORE_INDEX
from ..data import SegmentationData, check_rows, load_segmentation_dataset
from ..data.checks import SplitContents, list_of_faults, shared_images, unmasked_rows
from .arguments import DataArguments, parse_args


MAX_SIZES = 5  # of images, listed for each split


@dataclass
class CheckDataArguments:
    """How to read the masks."""

    _argument_group_name = "Check"

    reduce_labels: bool = field(
        default=False,
        metadata={"help": "Ids in the files count from 1 and 0 is no class: do_reduce_labels of an image processor."},
    )


def main(argv: list[str] | None = None) -> None:
    """Runs the command. The exit code is 1 where there are faults."""
    args, data_args = parse_args(CheckDataArguments, DataArguments, argv=argv, description=__doc__)
    if data_args.streaming:
        raise ValueError("--streaming reads rows as training needs them, and check-data reads all: leave it out.")
    data = load_segmentation_dataset(**vars(data_args), require_train=False)
    splits = {"train": data.train, "validation": data.validation}
    contents = [
        check_rows(rows, len(data.class_names), split, data.mask_palette, args.reduce_labels)
        for split, rows in splits.items()
        if rows is not None
    ]
    print(summary(data, contents, args.reduce_labels))
    if shared := shared_images(*contents) if len(contents) == 2 else None:
        print(f"\n{shared}")
    if faults := [fault for content in contents for fault in content.faults]:
        print(f"\n{list_of_faults(faults)}")
        sys.exit(1)


def summary(data: SegmentationData, contents: list[SplitContents], reduce_labels: bool) -> str:
    """Rows and sizes of each split, and the share of the pixels of its masks that each class has, in percent."""
    lines = []
    for content in contents:
        sizes = [f"{width}x{height} ({n})" for (width, height), n in content.sizes.most_common(MAX_SIZES)]
        more = [f"{len(content.sizes) - MAX_SIZES} more"] if len(content.sizes) > MAX_SIZES else []
        lines.append(f"{content.split}: {content.num_rows} rows, images of {', '.join([*sizes, *more]) or 'no size'}")
    masked = [content for content in contents if content.pixels]
    if not masked:
        return "\n".join([*lines, "There are no masks."])
    ids = [*range(reduce_labels, len(data.class_names) + reduce_labels)]
    columns = {}
    for content in masked:
        total = content.pixels.total()
        shares = [100 * content.pixels[i] / total for i in ids]
        void = content.pixels[IGNORE_INDEX] + (content.pixels[0] if reduce_labels else 0)
        columns[f"{content.split}, % of pixels"] = [*shares, 100 * void / total]
    lines += [unmasked_rows(content) for content in masked if content.num_unmasked]
    table = pd.DataFrame(columns, index=[*data.class_names, "(no class)"]).rename_axis(columns="class")
    return "\n".join([*lines, "", table.to_string(float_format="{:.2f}".format)])


if __name__ == "__main__":
    main()
