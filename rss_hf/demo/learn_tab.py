"""The tab that shows how the network learns, and `/sample` of the API."""

import gradio as gr

from ..reporting.figures import colorize
from ..training import RSSConfig
from .components import api, computing, enlarged, saved, upload, uploaded
from .images import open_picture, upright, whole
from .learning import ESTIMATOR_NAMES, REWARD_NAMES, SAMPLES, STRIDES, draw, open_reference, pair_pictures, pair_text
from .models import Models
from .segment import PALETTE


HELP = """
The network samples several maps of one image: at each site a class, by the network's own probabilities. The judge
compares each map with the reference and gives it a **reward**. The **advantage** of a map is its reward compared with
those of the other maps; maps with a positive advantage become more likely. Two maps can differ in reward only because
of the sites where they differ, so only these sites are credited.
"""
THUMBNAIL = (512, 512)  # pixels that maps on the page have at most


def learn_tab(models: Models, name: gr.Textbox, examples: list[list[str]]):
    """Adds it to the page. `name` is where visitors name a model; `examples` are pairs of image and mask."""
    gr.Markdown(HELP)
    with gr.Row():
        with gr.Column():
            with gr.Row():
                image, mask = (upload(label, ["upload"], height=200) for label in ("Picture", "Reference"))
            gr.Examples(examples, [image, mask], label="Examples, with their references")
        with gr.Column():
            with gr.Row():
                num_samples = gr.Slider(*SAMPLES, 8, step=1, label="Maps", min_width=140)
                seed = gr.Number(0, precision=0, minimum=0, label="Seed", min_width=140)
            stride = gr.Radio(STRIDES, value=4, label="Stride, in pixels")
            with gr.Row():
                reward = gr.Dropdown(REWARD_NAMES, value="mean_iou", label="Reward", min_width=180)
                estimator = gr.Dropdown(
                    ESTIMATOR_NAMES, value=RSSConfig.advantage_estimator, label="Advantage estimator", min_width=180
                )
            with gr.Row():
                first = gr.Slider(1, SAMPLES[1], 1, step=1, label="Compare map", min_width=140)
                second = gr.Slider(1, SAMPLES[1], 2, step=1, label="with map", min_width=140)
            run = gr.Button("Draw and judge", variant="primary", elem_id="draw")
    label = "Maps: reward (advantage)"
    maps = gr.Gallery(label=label, columns=4, height="auto", format="png", elem_id="maps", elem_classes="pixels")
    text = gr.Markdown(elem_id="pair")
    with gr.Row():
        panels = [
            gr.Image(
                label=f"The {ordinal} map where they differ",
                format="png",
                elem_classes=["pixels", "panel"],
                buttons=[],
            )
            for ordinal in ("first", "second")
        ]

    def drawn_from(image, mask, model, *how):
        stored = open_picture(uploaded(image, "an image"), "The image")
        picture, loaded = upright(stored), models.get(model)
        reference = open_reference(uploaded(mask, "a reference mask"), stored, picture.size, loaded)
        return picture, draw(loaded, picture, reference, *how)

    @computing
    def show(image, mask, model, num_samples, stride, reward, advantage_estimator, seed, first, second):
        picture, drawn = drawn_from(image, mask, model, num_samples, stride, reward, advantage_estimator, seed)
        picture.thumbnail(THUMBNAIL)
        i, j = (min(whole(number, "map to compare"), int(num_samples)) - 1 for number in (first, second))
        captions = [
            f"{number}: {value:.3f} ({round(advantage, 3) + 0.0:+.3f})"  # no -0.000
            for number, (value, advantage) in enumerate(zip(drawn.rewards, drawn.advantages, strict=True), 1)
        ]
        gallery = [enlarged(colorize(actions, PALETTE)) for actions in drawn.maps((picture.height, picture.width))]
        return (
            list(zip(gallery, captions, strict=True)),
            pair_text(drawn, i, j, reward),
            *(enlarged(panel) for panel in pair_pictures(drawn, picture, i, j)),
        )

    @computing
    def sample_api(image, mask, model, num_samples, stride, reward, advantage_estimator, seed):
        """
        Samples maps of an image from the policy of a model and compares them with a reference mask. Returns the maps,
        indexed PNGs of the image's size, and the grid (height and width in sites), rewards and advantages.
        """
        picture, drawn = drawn_from(image, mask, model, num_samples, stride, reward, advantage_estimator, seed)
        size = (picture.height, picture.width)
        files = [saved(colorize(actions, PALETTE), f"map-{i}.png") for i, actions in enumerate(drawn.maps(size), 1)]
        return files, {"grid": drawn.grid, "rewards": drawn.rewards, "advantages": drawn.advantages}

    inputs = [image, mask, name, num_samples, stride, reward, estimator, seed]
    gr.on(
        [run.click, num_samples.release, seed.submit, stride.input, reward.input, estimator.input]
        + [first.release, second.release],
        show,
        [*inputs, first, second],
        [maps, text, *panels],
        preprocess=False,
        api_visibility="private",
        concurrency_id="compute",
    )
    outputs = [gr.File(label="maps", file_count="multiple", visible=False), gr.JSON(label="judged", visible=False)]
    api(sample_api, inputs, outputs, "sample")
