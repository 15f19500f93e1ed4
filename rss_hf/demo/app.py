"""
Serves a page on which a model segments images and shows how it learns.

    rss-hf demo --model outputs/shapes --port 7860

On a Space of the Hub the environment variable RSS_MODEL names the model.
"""

import argparse
import logging
import os

from .models import Models


def main(argv: list[str] | None = None):
    """Serves the demo as the command line `argv` (*optional*, defaults to that of the process) says."""
    parser = argparse.ArgumentParser("rss-hf demo", description="Serves the demo on this machine.")
    parser.add_argument("--model", default=os.environ.get("RSS_MODEL"), help="Hub id or folder; default: $RSS_MODEL.")
    parser.add_argument("--port", type=int, help="Default: the first free port from 7860 on.")
    args = parser.parse_args(argv)
    if not args.model:
        parser.error("which model? Give --model FOLDER_OR_ID, or set RSS_MODEL.")
    try:  # here, for the help and the error above need no gradio
        from .server import serve
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ImportError("The demo needs gradio, which is not installed: pip install 'rss-hf[demo]'.") from error
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    on_space = "SPACE_ID" in os.environ
    serve(Models(args.model, local=not on_space), args.port, host="0.0.0.0" if on_space else "127.0.0.1")
