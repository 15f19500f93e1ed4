"""
Segments images: for each NAME.* a mask NAME.png (its pixels are class ids, shown in colour) and NAME_overlay.png.

    rss-hf predict --model outputs/shapes --input photos --output_dir predictions
    rss-hf predict --model outputs/shapes --input photo.jpg --output_dir predictions --window 512 512 --flip
"""

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from accelerate import PartialState
from tqdm import tqdm

from ..data import IMAGE_SUFFIXES, open_image, process_image, voc_palette
from ..evaluation.predict import predict_maps
from ..reporting.figures import colorize, overlay
from ..training import load_trained_model
from ..training.model_loading import find_model
from .arguments import parse_args
from .checks import check_window, check_writable
from .errors import one_line_errors


@dataclass
class PredictArguments:
    """What to segment, and how."""

    _argument_group_name = "Prediction"

    model: str = field(metadata={"help": "Hub id or folder of a segmentation model with its image processor."})
    input: str = field(metadata={"help": "An image, or a folder of images."})
    output_dir: str = field(metadata={"help": "Where the masks and overlays go; made if it is not there."})
    flip: bool = field(default=False, metadata={"help": "Average over the image and its mirror image."})
    window: list[int] | None = field(
        default=None, metadata={"help": "Slide a window of this HEIGHT WIDTH over the processed image, by half steps."}
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of the model."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run the model code that the Hub id brings."})

    def __post_init__(self):
        check_window(self.window)


def main(argv: list[str] | None = None) -> None:
    """Runs the command. Exits with code 1 and the names of the images that could not be read, if there are any."""
    with one_line_errors():
        damaged = predict(argv)
    if damaged:
        sys.exit("\n".join([f"{len(damaged)} images could not be read and have no mask:", *damaged]))


def predict(argv: list[str] | None) -> list[str]:
    """Segments every image that can be read; what is wrong with each of the others."""
    (args,) = parse_args(PredictArguments, argv=argv, description=__doc__)
    images = find_images(Path(args.input))
    outputs = output_paths(images, Path(args.output_dir))
    find_model(args.model)
    check_writable("output_dir", args.output_dir)
    model, processor = load_trained_model(args.model, args.model_revision, args.trust_remote_code)
    model.to(PartialState().device)

    palette, damaged = voc_palette(), []
    for path, (mask_path, overlay_path) in zip(tqdm(images, unit="image"), outputs, strict=True):
        try:
            image = open_image(path)
        except ValueError as error:
            damaged.append(str(error))
            continue
        pixel_values = process_image(processor, image)[None].to(model.device)
        [mask] = predict_maps(model, pixel_values, [(image.height, image.width)], window=args.window, flip=args.flip)
        mask = mask.cpu()
        colorize(mask, palette).save(mask_path)
        overlay(image, mask, palette).save(overlay_path)
    print(f"{len(images) - len(damaged)} masks and overlays are in {args.output_dir}.")
    return damaged


def find_images(path: Path) -> list[Path]:
    """The image itself, or the images of a folder in the order of their names."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"--input {path}: there is no such file or folder.")
    images = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise ValueError(f"--input {path}: the folder holds no images, that is no files {', '.join(IMAGE_SUFFIXES)}.")
    return images


def output_paths(images: list[Path], output_dir: Path) -> list[tuple[Path, Path]]:
    """Mask and overlay files of each image; refuses to write one file twice or over an image."""
    outputs = [(output_dir / f"{image.stem}.png", output_dir / f"{image.stem}_overlay.png") for image in images]
    written = Counter(path.resolve() for pair in outputs for path in pair)
    overwritten = {image.resolve() for image in images} & written.keys()
    if overwritten:
        raise ValueError(f"{min(overwritten)} is an image that a mask would replace: choose another --output_dir.")
    path, count = written.most_common(1)[0]
    if count > 1:
        raise ValueError(f"{path} would be written for {count} of the images: rename those with names alike.")
    return outputs


if __name__ == "__main__":
    main()
