"""Serves the demo: `rss-hf demo --model outputs/shapes --port 7860`."""

from ..demo import app
from .errors import one_line_errors


def main(argv: list[str] | None = None) -> None:
    """Runs the command, see [`~rss_hf.demo.app.main`]."""
    with one_line_errors():
        app.main(argv)


if __name__ == "__main__":
    main()
