"""Serves the demo: `rss-hf demo --model outputs/shapes --port 7860`."""

import sys


def main(argv: list[str] | None = None) -> None:
    """Runs the command, see [`~rss_hf.demo.app.main`]."""
    try:
        from rss_hf.demo import app
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        sys.exit("The demo needs gradio, which is not installed: pip install 'rss-hf[demo]'.")
    app.main(argv)


if __name__ == "__main__":
    main()
