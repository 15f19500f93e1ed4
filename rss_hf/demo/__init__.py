"""The demo: a Gradio page on which a model segments images and shows how it learns. Needs `rss-hf[demo]`."""

try:
    import gradio  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError("The demo needs Gradio: pip install 'rss-hf[demo]'.") from error
