"""Label maps as pictures: colours, overlays, comparison sheets, and the curves of a training run."""

from os import PathLike

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from PIL import Image

from ..constants import IGNORE_INDEX
from ..data import voc_palette


CURVES = {
    "reward": "reward",
    "entropy": "entropy (nats)",
    "eval_mean_iou": "validation mean IoU",
    "eval_reward": "validation reward",
}


def colorize(mask: np.ndarray | torch.Tensor, palette: ArrayLike) -> Image.Image:
    """
    A label map as an indexed picture: its pixels are the labels, so that saved as PNG it is a mask again.

    Args:
        mask (`np.ndarray` or `torch.Tensor` of shape `(H, W)`): integer labels in [0, 255], 255 is void.
        palette (array of shape `(C, 3)`): RGB colours, 0 to 255, of the labels; the labels from C on get VOC's.

    Returns:
        `PIL.Image.Image`: of mode P and size (W, H).

    Raises:
        ValueError: if the mask is not of two dimensions, or a label is outside [0, 255].
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"A label map has the shape (H, W), got {mask.shape}: colour one map at a time.")
    if mask.size and not 0 <= mask.min() <= mask.max() <= IGNORE_INDEX:
        raise ValueError(f"Labels must be in [0, 255], got {mask.min()} to {mask.max()}: mark void pixels with 255.")
    picture = Image.fromarray(mask.astype(np.uint8))
    picture.putpalette(_with_all_labels(palette).tobytes())
    return picture


def overlay(
    image: Image.Image, mask: np.ndarray | torch.Tensor, palette: ArrayLike, alpha: float = 0.5
) -> Image.Image:
    """
    An image under its colour-coded label map; void pixels show the image alone.

    Args:
        image (`PIL.Image.Image`): of size (W, H).
        mask (`np.ndarray` or `torch.Tensor` of shape `(H, W)`): integer labels in [0, 255], 255 is void.
        palette (array of shape `(C, 3)`): RGB colours, 0 to 255, of the labels.
        alpha (`float`, *optional*, defaults to 0.5): Opacity of the colours, in [0, 1].

    Returns:
        `PIL.Image.Image`: of mode RGB and size (W, H).

    Raises:
        ValueError: if image and mask differ in size, or the mask is none (see [`colorize`]).
    """
    colours = colorize(mask, palette)
    if colours.size != image.size:
        raise ValueError(f"image is {image.size} but mask is {colours.size} (width, height): predict at image size.")
    opacity = colours.point([round(255 * alpha)] * IGNORE_INDEX + [0], "L")
    return Image.composite(colours.convert("RGB"), image.convert("RGB"), opacity)


def heat_map(values: np.ndarray | torch.Tensor, maximum: float) -> Image.Image:
    """
    A map of numbers as a picture, dark for 0 and bright for `maximum`; numbers outside take the nearer end's colour.

    Args:
        values (`np.ndarray` or `torch.Tensor` of shape `(H, W)`): floats.
        maximum (`float`): above 0.

    Returns:
        `PIL.Image.Image`: of mode RGB and size (W, H).
    """
    colours = matplotlib.colormaps["inferno"](np.asarray(values) / maximum, bytes=True)  # (H, W, 4)
    return Image.fromarray(colours[..., :3])


def comparison_sheet(
    rows: list[tuple[Image.Image, np.ndarray | torch.Tensor | None, np.ndarray | torch.Tensor]],
    palette: ArrayLike,
    class_names: list[str],
    path: str | PathLike,
    scores: list[tuple[str, np.ndarray | None]] | None = None,
):
    """
    Writes a PNG with a row for each image, its columns image, reference and prediction, and a legend of the classes
    that occur. Without any reference there is no column for them; with `scores` the last column shows these.

    Args:
        rows (`list[tuple]`): (image, reference, prediction); image a `PIL.Image.Image`, the others label maps (H, W)
            of any size with labels in [0, C) or 255; the reference is None where there is none.
        palette (array of shape `(C, 3)`): RGB colours, 0 to 255, of the labels.
        class_names (`list[str]`): The names of the C classes.
        path (`str` or `PathLike`): The file to write.
        scores (`list[tuple]`, *optional*): What each prediction earned: a text, and a map (h, w) of floats, bright
            where it earned much, or None.

    Raises:
        ValueError: if there are no rows, or not as many scores.
    """
    if not rows:
        raise ValueError(f"There is nothing to compare on {path}: give at least one (image, reference, prediction).")
    titles, parts = ["image", "reference", "prediction"], [*zip(*rows, strict=True)]
    if all(reference is None for reference in parts[1]):
        titles, parts = titles[::2], parts[::2]
    if scores is not None:
        titles, parts = [*titles, "score"], [*parts, scores]
    heights = [image.height / image.width for image, _, _ in rows]
    figure = Figure(figsize=(3 * len(titles), 3 * sum(heights) + 0.8), layout="constrained")
    axes = figure.subplots(len(rows), len(titles), squeeze=False, height_ratios=heights)
    labels = set()
    for title, column, column_axes in zip(titles, parts, axes.T, strict=True):
        column_axes[0].set_title(title)
        for cell, axis in zip(column, column_axes, strict=True):
            if title == "image":
                axis.imshow(cell.convert("RGB"))
            elif title == "score":
                _show_score(axis, *cell)
            elif cell is not None:
                picture = colorize(cell, palette)
                axis.imshow(picture.convert("RGB"), interpolation="nearest")
                labels |= set(np.unique(picture).tolist())
    for axis in axes.flat:
        axis.set_axis_off()
    names = {**dict(enumerate(class_names)), IGNORE_INDEX: "void"}
    colours = _with_all_labels(palette) / 255
    handles = [Patch(facecolor=colours[label], edgecolor="0.6", label=names[label]) for label in sorted(labels)]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(path, format="png", dpi=120)


def _show_score(axis: Axes, text: str, values: np.ndarray | None) -> None:
    """A text in the middle, over the map (h, w) of the values where there is one."""
    if values is not None:
        axis.imshow(values, cmap="inferno", interpolation="nearest")
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    axis.text(0.5, 0.5, text, ha="center", va="center", transform=axis.transAxes, bbox=box)


def training_curves(log_history: list[dict[str, float]], path: str | PathLike):
    """
    Writes a PNG of a run over optimizer steps, one axis for each of [`CURVES`] that was logged: the mean reward, the
    entropy of the policy in nats, and of the validation split the mean IoU in [0, 1] or the reward.

    Args:
        log_history (`list[dict[str, float]]`): `trainer.state.log_history`.
        path (`str` or `PathLike`): The file to write.

    Raises:
        ValueError: if none of them was logged.
    """
    curves = {key: [(logs["step"], logs[key]) for logs in log_history if key in logs] for key in CURVES}
    curves = {key: points for key, points in curves.items() if points}
    if not curves:
        raise ValueError(f"None of {list(CURVES)} was logged, so {path} has no curve: train `logging_steps` or more.")
    figure = Figure(figsize=(7, 2.4 * len(curves)), layout="constrained")
    axes = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (key, points) in zip(axes, curves.items(), strict=True):
        axis.plot(*zip(*points, strict=True), marker="o" if key.startswith("eval_") else None, markersize=3)
        axis.set_ylabel(CURVES[key])
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.align_ylabels(axes)
    axes[-1].set_xlabel("step")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, format="png", dpi=120)


def _with_all_labels(palette: ArrayLike) -> np.ndarray:
    """The (256, 3) colours of all 8-bit labels: those of `palette`, then PASCAL VOC's, whose void is cream."""
    colours = np.array(voc_palette(), np.uint8)
    colours[: len(palette)] = palette
    return colours
