"""
Serves a page on which a model segments images and shows how it learns.

    rss-hf demo --model outputs/shapes --port 7860

On a Space of the Hub the environment variable RSS_MODEL names the model.
"""

import argparse
import atexit
import logging
import os
import tempfile
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from .images import MAX_BYTES
from .models import Models
from .page import CSS, MAX_REQUESTS, build_demo
from .uploads import Bounded, Folder


THEME = gr.themes.Soft(primary_hue="teal", secondary_hue="teal", font=["system-ui", "sans-serif"])

MAX_SESSIONS = 200  # Gradio keeps about 150 KB of each; the page keeps nothing in them


def main(argv: list[str] | None = None):
    """Serves the demo as the command line `argv` (*optional*, defaults to that of the process) says."""
    parser = argparse.ArgumentParser("rss-hf demo", description="Serves the demo on this machine.")
    parser.add_argument("--model", default=os.environ.get("RSS_MODEL"), help="Hub id or folder; default: $RSS_MODEL.")
    parser.add_argument("--port", type=int, help="Default: the first free port from 7860 on.")
    args = parser.parse_args(argv)
    if not args.model:
        parser.error("which model? Give --model FOLDER_OR_ID, or set RSS_MODEL.")
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    on_space = "SPACE_ID" in os.environ
    serve(Models(args.model, local=not on_space), args.port, host="0.0.0.0" if on_space else "127.0.0.1")


def serve(models: Models, port: int | None = None, host: str = "127.0.0.1", block: bool = True) -> str:
    """
    Serves the page.

    Args:
        models ([`Models`]): what it answers with.
        port (`int`, *optional*, defaults to the first free one from 7860 on).
        host (`str`, *optional*): the address to listen at.
        block (`bool`, *optional*, defaults to `True`): whether to return only when the server is stopped.

    Returns:
        `str`: the page's address.
    """
    # A folder of its own: what is deleted for room must be this page's.
    own = tempfile.TemporaryDirectory(prefix="rss_hf-files-", dir=os.environ.get("GRADIO_TEMP_DIR"))
    atexit.register(own.cleanup)
    os.environ["GRADIO_TEMP_DIR"] = str(Path(own.name).resolve())
    demo = build_demo(models)
    folder = Folder(Path(os.environ["GRADIO_TEMP_DIR"]), demo.temp_file_sets)
    folder.tidy_for_ever()
    _, url, _ = demo.launch(
        server_name=host,
        server_port=port,
        share=False,
        show_error=False,
        max_file_size=MAX_BYTES,
        max_threads=MAX_REQUESTS + 16,
        app_kwargs={"middleware": [Middleware(Bounded, folder=folder)]},
        state_session_capacity=MAX_SESSIONS,
        theme=THEME,
        css=CSS,
        footer_links=["api"],
        ssr_mode=False,
        prevent_thread_lock=not block,
    )
    return url
