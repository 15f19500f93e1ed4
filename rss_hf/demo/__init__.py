"""The demo: a Gradio page on which a model segments images and shows how it learns. Needs `rss-hf[demo]`."""
