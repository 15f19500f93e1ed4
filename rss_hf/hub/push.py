"""Pushes to the Hub in the background. No failure stops training: it is retried and, at the end, reported."""

import shlex
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import CommitInfo, HfApi
from transformers.trainer_utils import HubStrategy
from transformers.utils import logging

from .model_card import write_model_card


logger = logging.get_logger(__name__)

RETRY_DELAYS = (1.0, 4.0)  # seconds before the second and the third attempt

NOT_THE_MODEL = ["_*", "checkpoint-*", "optimizer*", "scheduler.pt", "scaler.pt", "rng_state*", "global_step*"]
NOT_THE_MODEL += ["*_state.safetensors", "checkpoint.json", ".writing*"]  # these serve to resume too
PRIVATE_FILES = ["training_args.bin"]  # holds the token


@dataclass(frozen=True)
class Push:
    """
    A folder on its way to a repository.

    Args:
        folder (`str`): what to push.
        repo_id (`str`): the model repository, made if it is not there.
        path_in_repo (`str`, *optional*):
            Where a whole checkpoint goes, the state of the optimiser included. Without it the folder's model, its card
            and pictures go to the root of the repository.
        revision (`str`, *optional*, defaults to the main branch): the branch, made if it is not there.
        private (`bool`, *optional*, defaults to the organisation's default): whether a repository that is made is.
        commit_message (`str`, *optional*): the commit's title.
        token (`str`, *optional*, defaults to the one that is logged in): with the permission to write.
    """

    folder: str
    repo_id: str
    path_in_repo: str | None = None
    revision: str | None = None
    private: bool | None = None
    commit_message: str = "Upload model"
    token: str | None = field(default=None, repr=False)

    def command(self) -> str:
        """The command line that does it."""
        options = {"folder": self.folder, "repo_id": self.repo_id, "path_in_repo": self.path_in_repo}
        options |= {"revision": self.revision, "private": "true" if self.private else None}
        words = [word for name, value in options.items() if value is not None for word in (f"--{name}", value)]
        return shlex.join(["rss-hf", "push", *words])

    def once(self) -> CommitInfo:
        """One attempt; fewer than 20 files, which a model has, appear in the repository all at once or not at all."""
        api = HfApi(token=self.token)
        repo_id = api.create_repo(self.repo_id, private=self.private, exist_ok=True).repo_id
        if self.revision is not None and not self.revision.startswith("refs/"):
            api.create_branch(repo_id, branch=self.revision, exist_ok=True)
        return api.upload_folder(
            repo_id=repo_id,
            folder_path=self.folder,
            path_in_repo=self.path_in_repo,
            revision=self.revision,
            commit_message=self.commit_message,
            ignore_patterns=PRIVATE_FILES + (NOT_THE_MODEL if self.path_in_repo is None else []),
        )

    def run(self) -> CommitInfo:
        """Up to `len(RETRY_DELAYS) + 1` attempts. Raises what the last one raised."""
        for delay in RETRY_DELAYS:
            try:
                return self.once()
            except Exception as error:  # the client retries some requests; creating and committing are not among them
                logger.warning(f"Pushing {self.folder} to {self.repo_id} failed, next try in {delay} s: {error}")
                time.sleep(delay)
        return self.once()


class PushQueue:
    """Pushes in the background, one after the other. `failed` holds the last failure by path in the repository."""

    def __init__(self):
        self.failed: dict[str | None, tuple[Push, Exception]] = {}
        self._newest: dict[str | None, Push] = {}
        self._api = HfApi()  # whose `run_as_future` has one worker, so the order of submission is kept

    def submit(self, push: Push, always: bool = True) -> Future:
        """
        Queues a push. Without `always` it is left out if a newer one to the same place is queued before its turn
        comes. The future's result is the `CommitInfo`, or None where it failed or was left out.
        """
        self._newest[push.path_in_repo] = push
        return self._api.run_as_future(self._run, push, always)

    def finish(self) -> None:
        """Waits for every push, tries those that failed once more, and logs the command that finishes each other."""
        self._api.run_as_future(self._retry_failed).result()
        for push, error in self.failed.values():
            logger.error(
                f"{push.folder} is complete on disk but not on the Hub: pushing it to {push.repo_id} failed with "
                f"{type(error).__name__}: {error}\nFinish it with:\n  {push.command()}"
            )

    def _retry_failed(self) -> None:
        for push, _ in list(self.failed.values()):
            if Path(push.folder).is_dir():
                self._run(push, always=True)
            else:
                del self.failed[push.path_in_repo]
                logger.warning(f"{push.folder} was removed (save_total_limit) before it could be pushed.")

    def _run(self, push: Push, always: bool) -> CommitInfo | None:
        if not always and self._newest[push.path_in_repo] is not push:
            return None
        try:
            commit = push.run()
        except Exception as error:  # training goes on whatever it was; `finish` reports it
            self.failed[push.path_in_repo] = push, error
            return None
        self.failed.pop(push.path_in_repo, None)
        return commit


class HubPushMixin:
    """
    The Hub part of a [`~transformers.Trainer`], to be inherited before it. Every saved model has a card. Checkpoints
    are pushed from their own folders, which hold all that loading needs, its code included. No failure of the Hub
    raises: it is retried with the next push and at the end of training, and then reported.
    """

    hub_pushes: PushQueue | None = None

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """As [`~transformers.Trainer.init_hf_repo`], but a Hub that cannot be reached is tried again by each push."""
        self.hub_pushes = PushQueue()
        try:
            super().init_hf_repo(token, private)
        except Exception as error:  # not a reason to stop a training that has not even begun
            self.hub_model_id = self.args.hub_model_id or Path(self.args.output_dir).absolute().name
            logger.warning(f"No repository {self.hub_model_id} could be made, each push will try again: {error}")

    def create_model_card(
        self,
        model_name: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        folder: str | None = None,
    ) -> None:
        """Writes the card to `folder` (default: `args.output_dir`) by [`~rss_hf.hub.model_card.write_model_card`]."""
        if self.is_world_process_zero():
            write_model_card(self, folder or self.args.output_dir, model_name=model_name, license=license, tags=tags)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As [`~transformers.Trainer.save_model`], with a model card."""
        self.create_model_card(folder=output_dir)
        super().save_model(output_dir, _internal_call)

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs,
    ) -> CommitInfo | Future | None:
        """
        As [`~transformers.Trainer.push_to_hub`], but a failure is retried, then logged with the command that finishes
        it. The result is None if the first three attempts failed. `kwargs` are those of `create_model_card`.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if self.hub_model_id is None:
            self.init_hf_repo(token, private)
        super().save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        self.create_model_card(**kwargs)
        future = self._submit(self.args.output_dir, commit_message, None, token, revision, private)
        if not blocking:
            return future
        self._finish_current_push()
        return future.result()

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        message = f"Training in progress, step {self.state.global_step}"
        self._submit(checkpoint_folder, message)
        if self.args.hub_strategy == HubStrategy.CHECKPOINT:
            self._submit(checkpoint_folder, f"{message}, checkpoint", "last-checkpoint")
        elif self.args.hub_strategy == HubStrategy.ALL_CHECKPOINTS:
            self._submit(checkpoint_folder, f"{message}, checkpoint", Path(checkpoint_folder).name)

    def _finish_current_push(self) -> None:
        if self.hub_pushes is not None:
            self.hub_pushes.finish()

    def _submit(self, folder, message, path_in_repo=None, token=None, revision=None, private=None) -> Future:
        push = Push(
            folder=folder,
            repo_id=self.hub_model_id,
            path_in_repo=path_in_repo,
            revision=self.args.hub_revision if revision is None else revision,
            private=self.args.hub_private_repo if private is None else private,
            commit_message=message,
            token=self.args.hub_token if token is None else token,
        )
        return self.hub_pushes.submit(push, always=self.args.hub_always_push or folder == self.args.output_dir)
