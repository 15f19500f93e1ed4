"""Settings that were measured, by name. Each is a YAML file here whose first lines say what it is for."""

import difflib
from pathlib import Path
from typing import Any

from .settings_file import read_settings


FOLDER = Path(__file__).parent


def recipe_names() -> list[str]:
    """The names that [`recipe`] takes, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def recipe(name: str) -> dict[str, Any]:
    """
    Fields of [`RSSConfig`] and their values.

    Args:
        name (`str`): One of [`recipe_names`].

    Raises:
        `ValueError`: no such recipe.

    Example:

    ```python
    >>> args = RSSConfig(**recipe("few_calls"), output_dir="out")
    ```
    """
    names = recipe_names()
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"There is no recipe {name!r}.{hint} The recipes are {', '.join(names)}.")
    return read_settings(FOLDER / f"{name}.yaml")


__all__ = ["recipe", "recipe_names"]
