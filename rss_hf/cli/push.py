"""
Pushes a finished model folder, its card and its code, to the Hub. Files that are there already are not sent again.

    rss-hf push --folder outputs/shapes --repo_id org/rss-segformer
    rss-hf push --folder outputs/shapes --repo_id org/rss-segformer --revision v1 --private
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub.utils import validate_repo_id

from ..hub.push import Push
from .arguments import parse_args
from .errors import one_line_errors


@dataclass
class PushArguments:
    """What to push, and where."""

    _argument_group_name = "Push"

    folder: str = field(metadata={"help": "Folder of a saved model, or one of its checkpoints."})
    repo_id: str = field(metadata={"help": "Model repository, organisation/name; made if it is not there."})
    revision: str | None = field(
        default=None, metadata={"help": "Branch, made if it is not there. If not given: main."}
    )
    private: bool = field(default=False, metadata={"help": "Make the repository private, if it is made."})
    path_in_repo: str | None = field(
        default=None, metadata={"help": "Push a whole checkpoint, the optimiser's state included, to this folder."}
    )
    commit_message: str = field(default="Upload model", metadata={"help": "Title of the commit."})


def main(argv: list[str] | None = None) -> None:
    """Runs the command. Exits with the command that finishes the push where it fails."""
    with one_line_errors():
        (args,) = parse_args(PushArguments, argv=argv, description=__doc__)
        if not (Path(args.folder) / "config.json").is_file():
            raise ValueError(f"--folder {args.folder}: there is no config.json in it. Give a saved model's folder.")
        validate_repo_id(args.repo_id)
    push = Push(**{**vars(args), "private": args.private or None})
    try:
        commit = push.run()
    except Exception as error:  # whatever the Hub or the network did, the remedy is the same
        print(f"Pushing to {args.repo_id} failed, {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(f"Nothing is lost. Once the cause is gone, run again:\n  {push.command()}")
    print(f"{args.folder} is at {commit.repo_url}, branch {args.revision or 'main'}, commit {commit.oid}.")


if __name__ == "__main__":
    main()
