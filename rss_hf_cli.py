"""
The console script `rss-hf`: one command a module of `rss_hf.cli`. It stands outside the package, whose import takes
seconds (torch, transformers), so that the list of commands comes at once.
"""

import difflib
import importlib
import sys


COMMANDS = {
    "train": "Train a segmentation network from rewards, or from labels for comparison.",
    "evaluate": "Score a model on a data set: mean IoU, and every class's; without masks by reward.",
    "check-data": "Read all images and masks of a data set: what there is, and every fault.",
    "predict": "Segment an image, or a folder of images.",
    "push": "Push a trained model, its card and its code to the Hub.",
    "demo": "Serve a page on which a model segments images and shows how it learned to.",
}


def main(argv: list[str] | None = None) -> None:
    """
    Runs `rss-hf COMMAND ...`.

    Args:
        argv (`list[str]`, *optional*, defaults to that of the process): the command and its own command line.
    """
    command, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if command in ("-h", "--help"):
        print(help_text())
        return
    if command not in COMMANDS:
        nearest = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        sys.exit(f"rss-hf has no command {command!r}.{hint} The commands are {', '.join(COMMANDS)}.")
    importlib.import_module(f"rss_hf.cli.{command.replace('-', '_')}").main(rest)


def help_text() -> str:
    """The commands, a line each."""
    lines = ["rss-hf COMMAND [--option value ...]: semantic segmentation from rewards.", ""]
    lines += [f"  {command:<10} {text}" for command, text in COMMANDS.items()]
    return "\n".join([*lines, "", "rss-hf COMMAND --help lists a command's options."])


if __name__ == "__main__":
    main()
