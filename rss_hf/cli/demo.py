"""Serves the demo: `rss-hf demo --model outputs/shapes --port 7860`."""

import sys

from .errors import one_line_errors


def main(argv: list[str] | None = None) -> None:
    """Runs the command, see [`~rss_hf.demo.app.main`]."""
    try:
        from rss_hf.demo import app
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        sys.exit("The demo needs gradio, which is not installed: pip install 'rss-hf[demo]'.")
    with one_line_errors():
        app.main(argv)


if __name__ == "__main__":
    main()
