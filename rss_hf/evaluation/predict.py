"""Predictions and scores at the original size of each image, in memory that does not grow with the data set."""

from collections.abc import Callable, Iterable, Iterator
from itertools import product

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.data_loader import DataLoaderDispatcher
from torch import nn

from ..constants import IGNORE_INDEX
from .metrics import confusion_matrix


@torch.no_grad()
def predict_maps(
    model: nn.Module,
    pixel_values: torch.Tensor | list[torch.Tensor],
    sizes: list[tuple[int, int]],
    *,
    window: tuple[int, int] | None = None,
    stride: tuple[int, int] | None = None,
    flip: bool = False,
) -> list[torch.Tensor]:
    """
    The most probable class of every pixel. Logits are upsampled bilinearly to the size of one image at a time, so the
    memory is that of the largest image.

    Args:
        model (`nn.Module`): A segmentation model whose output has `logits` (B, C, h, w), in eval mode.
        pixel_values (`torch.Tensor` of shape `(B, 3, H, W)`, or a list of B tensors `(3, H_i, W_i)`):
            Processed images, on the device of the model. Those of a list are predicted one at a time.
        sizes (`list[tuple[int, int]]`): The (height, width) of each of the B maps wanted, in pixels.
        window (`tuple[int, int]`, *optional*):
            The (height, width), in pixels of `pixel_values`, of windows the model is slid over; without it the model
            sees whole images. Probabilities are averaged where windows overlap.
        stride (`tuple[int, int]`, *optional*, defaults to half of `window`):
            The (vertical, horizontal) step from window to window; the last window of a row or column ends at the edge.
        flip (`bool`, *optional*, defaults to `False`):
            Whether to average the probabilities with those of the mirrored image.

    Returns:
        `list[torch.Tensor]`: B maps (H_i, W_i) int64 in [0, C).

    Raises:
        ValueError: if there are not B sizes, the window is not a pair, or the stride is below 1 or leaves gaps; or the
            logits are not finite.
    """
    return [_most_probable(views) for views in upsampled_views(model, pixel_values, sizes, window, stride, flip)]


@torch.no_grad()
def predict_maps_and_entropies(
    model: nn.Module,
    pixel_values: torch.Tensor | list[torch.Tensor],
    sizes: list[tuple[int, int]],
    *,
    window: tuple[int, int] | None = None,
    stride: tuple[int, int] | None = None,
    flip: bool = False,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """
    The maps of [`predict_maps`], with the same arguments and errors, and how uncertain the model is of each pixel.

    Returns:
        `list[tuple[torch.Tensor, torch.Tensor]]`: B maps (H_i, W_i) int64 in [0, C), each with the entropy
        (H_i, W_i) float32 of its pixels' class probabilities, in nats, in [0, log C].
    """
    return [
        (_most_probable(views), torch.special.entr(views.softmax(dim=1).mean(dim=0)).sum(dim=0))
        for views in upsampled_views(model, pixel_values, sizes, window, stride, flip)
    ]


@torch.no_grad()
def evaluate_model(
    model: nn.Module,
    dataloader: Iterable[dict],
    num_labels: int,
    accelerator: Accelerator,
    on_batch: Callable[[dict], None] | None = None,
    *,
    ignore_index: int = IGNORE_INDEX,
    window: tuple[int, int] | None = None,
    stride: tuple[int, int] | None = None,
    flip: bool = False,
) -> torch.Tensor:
    """
    Counts the predictions of a model over a whole split, at the size of the labels and over all processes. Each image
    is counted once, also where accelerate repeats images to give all processes as many; no logits are kept.

    Args:
        model (`nn.Module`): A segmentation model whose output has `logits` (B, C, h, w). Evaluated in eval mode, and
            returned to the mode it was in.
        dataloader (`Iterable[dict]`): Prepared by `accelerator`, over a data set that has a length. Its batches hold
            `pixel_values` (B, 3, H, W), or a list where their sizes differ, and `labels`: B tensors (H_i, W_i), or one
            (B, H, W), int64 in [0, C) or `ignore_index`.
        num_labels (`int`): C.
        accelerator (`Accelerator`): Gathers the counts.
        on_batch (`Callable[[dict], None]`, *optional*): Called with each batch, after it was scored.
        ignore_index (`int`, *optional*, defaults to 255): The label of void pixels.
        window, stride, flip (*optional*): As in [`predict_maps`].

    Returns:
        `torch.Tensor` of shape `(C, C)`: the [`~rss_hf.evaluation.confusion_matrix`] of the split, int64, the same on
        every process.

    Raises:
        ValueError: if label maps of their own sizes come from a dispatching data loader, which would cut them.
    """
    confusion = torch.zeros(num_labels, num_labels, dtype=torch.int64, device=accelerator.device)
    was_training = model.training
    model.eval()
    try:
        for batch in dataloader:
            labels = batch["labels"]
            if isinstance(labels, list) and isinstance(dataloader, DataLoaderDispatcher):
                raise ValueError(
                    "labels is a list of maps, of which accelerate's DataLoaderDispatcher keeps the first rows only: "
                    "prepare the data loader with dispatch_batches=False (in TrainingArguments, "
                    "accelerator_config={'dispatch_batches': False})."
                )
            sizes = [label.shape for label in labels]
            maps = predict_maps(model, batch["pixel_values"], sizes, window=window, stride=stride, flip=flip)
            pairs = zip(maps, labels, strict=True)
            counts = torch.stack([confusion_matrix(*pair, num_labels, ignore_index) for pair in pairs])  # (B, C, C)
            confusion += accelerator.gather_for_metrics(counts).sum(dim=0)
            if on_batch is not None:
                on_batch(batch)
    finally:
        model.train(was_training)
    return confusion


def has_labels(examples: Iterable[dict]) -> bool:
    """Whether the first example of a data set has labels."""
    return "labels" in next(iter(examples), {})


def upsampled_views(model, pixel_values, sizes, window, stride, flip) -> Iterator[torch.Tensor]:
    """Image by image, the logits (V, C, H_i, W_i) of its views: the image and, with `flip`, its mirror image."""
    if len(sizes) != len(pixel_values):
        raise ValueError(f"Got {len(pixel_values)} images but {len(sizes)} sizes: give a (height, width) an image.")
    if isinstance(pixel_values, list):
        for image, size in zip(pixel_values, sizes, strict=True):
            yield from upsampled_views(model, image[None], [size], window, stride, flip)
        return
    views = [_logits(model, pixel_values, window, stride)]
    if flip:
        views.append(_logits(model, pixel_values.flip(-1), window, stride).flip(-1))
    for logits, size in zip(torch.stack(views, dim=1), sizes, strict=True):
        yield F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)


def _most_probable(views: torch.Tensor) -> torch.Tensor:
    """The map (H, W) int64 of views (V, C, H, W): one view's own logits decide, several views' mean probabilities."""
    return (views.softmax(dim=1).mean(dim=0) if len(views) > 1 else views[0]).argmax(dim=0)


def _logits(model, pixel_values, window, stride) -> torch.Tensor:
    """Float32 logits: the model's own (B, C, h, w), or the log of its windows' averaged probabilities (B, C, H, W)."""
    if window is None:
        return _finite(model(pixel_values=pixel_values).logits.float())

    if len(window) != 2:
        raise ValueError(f"window={window} must be a height and a width.")
    stride = tuple(max(side // 2, 1) for side in window) if stride is None else stride
    if not all(1 <= step <= side for step, side in zip(stride, window, strict=True)):
        raise ValueError(f"stride={stride} must be from 1 to window={window} on each axis, or windows leave gaps.")
    height, width = pixel_values.shape[-2:]
    window = (min(window[0], height), min(window[1], width))
    probabilities, overlaps = None, pixel_values.new_zeros(height, width, dtype=torch.float32)
    for top, left in product(_starts(height, window[0], stride[0]), _starts(width, window[1], stride[1])):
        area = (..., slice(top, top + window[0]), slice(left, left + window[1]))
        logits = _finite(model(pixel_values=pixel_values[area]).logits.float())
        logits = F.interpolate(logits, size=window, mode="bilinear", align_corners=False)
        if probabilities is None:
            probabilities = logits.new_zeros(*logits.shape[:2], height, width)
        probabilities[area] += logits.softmax(dim=1)
        overlaps[area] += 1
    # As logarithms they are upsampled as logits are; clamped, since 0 * log(0) would make the interpolation NaN.
    return (probabilities / overlaps).clamp_min(torch.finfo(torch.float32).tiny).log()


def _finite(logits: torch.Tensor) -> torch.Tensor:
    """The logits (B, C, h, w), or `ValueError`: the greatest of NaN is class 0, which would be scored as an answer."""
    if not logits.isfinite().all():
        images = (~logits.isfinite()).flatten(1).any(dim=1).nonzero().flatten().tolist()
        raise ValueError(
            f"The model's logits are NaN or infinite for images {images[:10]} of a batch of {len(logits)}: its "
            "weights or the pixel values are not finite. Go back to an earlier checkpoint, or lower the learning rate."
        )
    return logits


def _starts(length: int, window: int, stride: int) -> list[int]:
    """The first pixel of every window along an axis; the last window ends at the edge."""
    return [*range(0, length - window, stride), length - window]
