"""The page: its head, which says what model answers, and two tabs."""

import tempfile
from pathlib import Path

import gradio as gr

from ..data import load_shapes
from .components import Page, answering, plain
from .learn_tab import learn_tab
from .models import Loaded, Models
from .segment_tab import segment_tab


TITLE = "Segmentation learned from rewards"
INTRODUCTION = f"""
# {TITLE}

[rss_hf](https://huggingface.co/papers/2505.17905) trains segmentation networks from rewards. The network samples maps
of an image, a judge scores each map, and maps with higher scores become more likely. The network never sees a pixel
label; the built-in judges compare its maps with a labelled one.
"""
CSS = """
.gradio-container {max-width: 1100px !important; margin: auto}
.pixels img {image-rendering: pixelated}
.input img {width: 100%; height: 100%; object-fit: contain}
#maps .grid-wrap {height: auto; max-height: none}
#maps .caption-label {max-width: 100%; font-size: 0.8em}
@media (max-width: 640px) {#maps .grid-container {grid-template-columns: repeat(2, 1fr)}}
.note {opacity: 0.8; font-size: 0.9em}
"""
MAX_REQUESTS = 48
EXAMPLES = (5, 1, 2, 4)  # images of the validation split whose shapes are seen well


def build_demo(models: Models) -> gr.Blocks:
    """The page over `models`; no model is loaded before somebody looks at it."""
    examples = draw_examples(Path(tempfile.mkdtemp(prefix="rss_hf-examples-")))
    with Page(title=TITLE, analytics_enabled=False) as demo:
        gr.Markdown(INTRODUCTION)
        about = gr.Markdown("Loading the model ...", elem_id="about")
        with gr.Accordion("Another model", open=False), gr.Row(equal_height=True):
            hint = "org/name on the Hub" + (" or a folder" if models.local else "")
            name = gr.Textbox("", label="Model", placeholder=f"{hint}; empty: the page's own", max_lines=1, scale=4)
            use = gr.Button("Use it", scale=1, min_width=120)
        with gr.Tab("Segment"):
            segment_tab(models, name, [pair[:1] for pair in examples])
        with gr.Tab("How it learns"):
            learn_tab(models, name, examples)

        @answering
        def describe(name):
            return description(models.get(name))

        gr.on([demo.load, use.click, name.submit], describe, name, about, api_visibility="private")
    # All who ask are at work at once, to wait for their turns no longer than `work.turns` lets them.
    return demo.queue(max_size=MAX_REQUESTS, default_concurrency_limit=MAX_REQUESTS)


def draw_examples(folder: Path) -> list[list[str]]:
    """Images and masks of the built-in data set's validation split, as pairs of files."""
    pairs = []
    rows = load_shapes(num_train=0, num_validation=max(EXAMPLES) + 1)["validation"]
    for i in EXAMPLES:
        row, pair = rows[i], [folder / f"{kind}-{i}.png" for kind in ("image", "mask")]
        for path, picture in zip(pair, (row["image"], row["mask"]), strict=True):
            picture.save(path)
        pairs.append([str(path) for path in pair])
    return pairs


def description(loaded: Loaded) -> str:
    """What a model is, as Markdown."""
    title = plain(loaded.title)
    origin = f"the local model **{title}**" if loaded.is_local else f"**{title}** from the Hub"
    trained = f", trained for {loaded.steps} steps" if loaded.steps is not None else ""
    millions = loaded.model.num_parameters() / 1e6
    names = plain(", ".join(loaded.class_names[:30])) + (", ..." if len(loaded.class_names) > 30 else "")
    return f"On this page: {origin}{trained}, {millions:.1f} million parameters. Classes: {names}."
