"""The tab that segments an image, and `/segment` of the API."""

import math

import gradio as gr
import numpy as np
from PIL import Image

from ..reporting.figures import colorize, heat_map
from .components import api, computing, enlarged, saved, upload, uploaded
from .images import MAX_BYTES, MAX_PIXELS, open_photo
from .models import Models
from .segment import PALETTE, Segmentation, segment


HELP = (
    f"PNG, JPEG, WebP, TIFF, BMP or GIF, up to {MAX_BYTES >> 20} MiB and {MAX_PIXELS // 10**6} million pixels. "
    "The examples are of the built-in data set."
)
WINDOW_HELP = "Side in pixels of the model's input; 0: the whole image at once."
SMALL = 1_000_000  # pixels; larger photos are shown as JPEG, which is several times faster to write
SHOWN = 4_000_000  # pixels; larger photos are shown at this size, for gr.AnnotatedImage takes seconds for a class
OPACITY = 0.6


def segment_tab(models: Models, name: gr.Textbox, examples: list[list[str]]):
    """Adds it to the page. `name` is where visitors name a model; `examples` are images, each in a list of its own."""
    with gr.Row():
        with gr.Column():
            image = upload("Image", ["upload", "webcam", "clipboard"], height=320)
            gr.Examples(examples, image)
            with gr.Accordion("Options", open=False):
                window = gr.Slider(0, 1024, 0, step=16, label="Sliding window", info=WINDOW_HELP)
                flip = gr.Checkbox(label="Average with the mirror image")
            run = gr.Button("Segment", variant="primary", elem_id="segment")
            gr.Markdown(HELP, elem_classes="note")
        with gr.Column():
            overlaid = gr.AnnotatedImage(label="Classes", elem_id="overlay", elem_classes="pixels")
            areas = gr.Label(label="Area", show_heading=False, elem_id="areas")
            heat = gr.Image(label="Uncertainty", format="png", elem_classes="pixels", buttons=["fullscreen"])
            scale = gr.Markdown(elem_classes="note")
            download = gr.DownloadButton("Download the mask (PNG)", interactive=False, elem_id="download")

    @computing
    def show(image, name, window, flip):
        if image is None:
            return None, None, None, "", gr.DownloadButton(value=None, interactive=False)
        picture = open_photo(uploaded(image, "an image"))
        loaded = models.get(name)
        result = segment(loaded, picture, window, flip)
        size, highest = shown_size(picture), math.log(len(loaded.class_names))
        return (
            overlay(picture, result, size),
            {area["name"]: area["fraction"] for area in result.areas},
            enlarged(heat_map(result.entropy, highest).resize(size)),
            f"Entropy of each pixel's class probabilities: 0 nats (dark) where the network is certain, {highest:.2f} "
            f"nats (bright) where all {len(loaded.class_names)} classes are equally likely. The mean is "
            f"{result.entropy.mean():.3f} nats."
            + (f" Shown at {size[0]} x {size[1]} pixels: the mask is larger." if size != picture.size else ""),
            gr.DownloadButton(value=saved(colorize(result.mask, PALETTE), "mask.png"), interactive=True),
        )

    @computing
    def segment_api(image, model, window, flip):
        """
        Segments an image. `model` is a Hub id ("": the page's own model), `window` the side of a sliding window in
        pixels (0: none), `flip` averages with the mirror image. Returns the mask, a PNG whose pixels are class ids,
        and the id, name, pixels and fraction of each class that occurs.
        """
        result = segment(models.get(model), open_photo(uploaded(image, "an image")), window, flip)
        return saved(colorize(result.mask, PALETTE), "mask.png"), result.areas

    inputs = [image, name, window, flip]
    outputs = [overlaid, areas, heat, scale, download]
    gr.on(
        [image.change, run.click, flip.input, window.release],
        show,
        inputs,
        outputs,
        preprocess=False,
        api_visibility="private",
        concurrency_id="compute",
    )
    api(segment_api, inputs, [gr.File(label="mask", visible=False), gr.JSON(label="areas", visible=False)], "segment")


def overlay(picture: Image.Image, result: Segmentation, size: tuple[int, int]) -> gr.AnnotatedImage:
    """The image under its classes, in their colours, at `size` = (width, height) pixels."""
    mask = np.asarray(Image.fromarray(result.mask).resize(size, Image.Resampling.NEAREST))
    colours = {area["name"]: "#{:02x}{:02x}{:02x}".format(*PALETTE[area["class_id"]]) for area in result.areas}
    sections = [(OPACITY * (mask == area["class_id"]), area["name"]) for area in result.areas]
    name = "image.png" if mask.size <= SMALL else "image.jpg"
    return gr.AnnotatedImage((saved(picture.resize(size), name), sections), color_map=colours)


def shown_size(picture: Image.Image) -> tuple[int, int]:
    """The (width, height) an image is shown at: its own, or about `SHOWN` pixels in its proportions."""
    factor = min(1, math.sqrt(SHOWN / (picture.width * picture.height)))
    return max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
