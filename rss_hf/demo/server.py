"""The page's server: Gradio, bounded in requests, files and sessions."""

import atexit
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
