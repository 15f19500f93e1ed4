"""What Gradio does not have: errors that are sentences and tell nothing of the server, and files it is to delete."""

import functools
import html
import logging
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder
from gradio_client.utils import is_file_obj_with_meta, is_http_url_like, traverse
from PIL import Image

from .images import Refusal
from .work import turns


try:
    from spaces import GPU  # ZeroGPU: a Space that has a GPU only while one of its functions runs
except ImportError:

    def GPU(function):
        return function


logger = logging.getLogger("rss_hf.demo")


class Page(gr.Blocks):
    """A page that takes files by upload alone, and answers a request that is none of its own with a sentence."""

    async def preprocess_data(self, block_fn, inputs, state, explicit_call=False):
        try:
            traverse(inputs, refuse_address, is_file_obj_with_meta)
            return await super().preprocess_data(block_fn, inputs, state, explicit_call)
        except gr.Error:
            raise
        except Exception as error:
            logger.exception("A request could not be read.")
            raise gr.Error("This request has an input that the page does not take.", print_exception=False) from error


def refuse_address(file: dict) -> dict:
    """Refuses a file that the server would have to fetch, which has no bounds, or that is no file but its content."""
    if is_http_url_like(file["path"]) or str(file.get("url")).startswith("data:"):
        raise gr.Error("Upload the file itself instead of its place.", print_exception=False)
    return file


def answering(function: Callable) -> Callable:
    """
    A function for the page whose every error is a sentence: that of a [`Refusal`], which says what to do, or
    one that says nothing of the server, whose log has the rest.
    """

    @functools.wraps(function)
    def answer(*arguments):
        try:
            return function(*arguments)
        except Refusal as refusal:
            # The page shows it as HTML, and it may quote names that visitors gave.
            raise gr.Error(html.escape(str(refusal), quote=False), print_exception=False) from refusal
        except Exception as error:
            logger.exception("A request failed.")
            message = "Something went wrong on the server. The other functions of this page still work."
            raise gr.Error(message, print_exception=False) from error

    return answer


def computing(function: Callable) -> Callable:
    """[`answering`], on a GPU if a Space lends one, for a function that decodes images and computes in its turn."""

    @functools.wraps(function)
    def compute(*arguments):
        with turns.place():
            return function(*arguments)

    return GPU(answering(compute))


def plain(text: str) -> str:
    """`text` as Markdown that shows it as it is: no character of it is a mark, a tag or part of a link."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def upload(label: str, sources: list[str], height: int) -> gr.Image:
    """
    Where an image is dropped. Gradio would decode it without bounds before a function sees it, so that functions are
    to be given it as it came, with `preprocess=False`, and read it by [`uploaded`].
    """
    return gr.Image(
        label=label, sources=sources, height=height, elem_id=label.lower(), elem_classes=["pixels", "input"]
    )


def uploaded(file: dict | None, kind: str) -> str:
    """
    The path of an uploaded file. Raises `Refusal` where there is none, or it is not where uploads are: Gradio checks
    the place of files only that are marked as such.
    """
    if file is None or (isinstance(file, dict) and file.get("path") is None):
        raise Refusal(f"Choose {kind} first.")
    instead = Refusal("Upload the file itself instead of its place.")
    if not isinstance(file, dict) or not isinstance(file["path"], str):
        raise instead
    try:
        path = Path(file["path"]).resolve()
        if not path.is_relative_to(Path(get_upload_folder()).resolve()) or path.is_dir():
            raise instead
        os.utime(path)  # those used last are deleted last
    except FileNotFoundError as error:
        raise Refusal("The file is no longer here. Upload it again.") from error
    except (OSError, ValueError) as error:  # no path at all
        raise instead from error
    return str(path)


def api(function: Callable, inputs: list[gr.components.Component], outputs: list[gr.components.Component], name: str):
    """Adds a function for clients of the API, which the page itself does not use."""
    button = gr.Button(visible=False)
    button.click(function, inputs, outputs, preprocess=False, api_name=name, concurrency_id="compute")


def saved(image: Image.Image, name: str) -> str:
    """The path of a new file that Gradio serves and deletes: `image` in the format that the suffix of `name` says."""
    Path(get_upload_folder()).mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=get_upload_folder())) / name
    image.save(path)
    return str(path)


def enlarged(picture: Image.Image) -> Image.Image:
    """A small picture with each pixel repeated, so that its pixels are seen where pictures are smoothed."""
    factor = max(1, 256 // max(picture.size))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
