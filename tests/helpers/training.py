"""Scenes of stripes, and short training runs on them."""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils.data import Dataset

from rss_hf import RSSConfig, RSSTrainer


class Scenes(Dataset):
    """Images of 32x32 pixels, each of vertical stripes of 3 colours; its labels say which, the left edge is void."""

    def __init__(self, n=16, with_labels=True, empty=()):
        generator = torch.Generator().manual_seed(0)
        stripes = torch.randint(3, (n, 4), generator=generator).repeat_interleave(8, 1)
        labels = stripes[:, None].repeat(1, 32, 1)
        images = torch.eye(3)[labels].permute(0, 3, 1, 2) + 0.1 * torch.randn(n, 3, 32, 32, generator=generator)
        labels[:, :, :2] = 255
        labels[list(empty)] = 255
        side = torch.arange(32) * 8
        self.rows = [
            {"pixel_values": image, "labels": mask, "id": str(n), "image_index": torch.tensor(n)}
            | {"image_positions": side[:, None] * 256 + side}
            for n, (image, mask) in enumerate(zip(images, labels, strict=True))
        ]
        if not with_labels:
            for row in self.rows:
                del row["labels"]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return dict(self.rows[i])


def train(
    model, output_dir, scenes=None, reward_funcs=None, resume=None, trainer_class=RSSTrainer, estimator=None, **kwargs
):
    settings = {
        "max_steps": 3,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "num_samples": 4,
        "disable_tqdm": True,
        "save_strategy": "no",
        "lr_scheduler_type": "constant",
    }
    args = RSSConfig(
        output_dir=str(output_dir), use_cpu=True, advantage_estimator_kwargs=estimator, **(settings | kwargs)
    )
    scenes = scenes or Scenes()
    options = {} if reward_funcs is None else {"reward_funcs": reward_funcs}
    trainer = trainer_class(model=model, args=args, train_dataset=scenes, eval_dataset=scenes, **options)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def logged(trainer, *names):
    return [[entry[name] for name in names] for entry in trainer.state.log_history if "loss" in entry]


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def estimator_settings(name):
    """Settings of a run that every advantage estimator works with."""
    return {"advantage_estimator": name, "scale_rewards": "none", "entropy_coef": 0.0}


def constant(predictions, references=None, **columns):
    """The same number for every map."""
    return torch.full((len(predictions),), 0.1)


def stripes_of_class_one(predictions, references=None, pixel_values=None, **columns):
    """Looks at the images alone, never at labels."""
    return ((predictions == 1) == (pixel_values.argmax(1) == 1)).float().mean((1, 2))


def assert_no_wait_for_the_device(model, output_dir, reward_funcs, **options):
    """Fake tensors hold no values: `.item()`, `.cpu()` or a shape that depends on values would raise."""
    args = RSSConfig(output_dir=str(output_dir), use_cpu=True, **options)
    trainer = RSSTrainer(model=model, args=args, reward_funcs=reward_funcs, train_dataset=Scenes())
    with FakeTensorMode(allow_non_fake_inputs=True):
        inputs = {"pixel_values": torch.randn(4, 3, 32, 32), "labels": torch.zeros(4, 32, 32, dtype=torch.int64)}
        inputs |= {"image_index": torch.arange(4), "image_positions": torch.zeros(4, 32, 32, dtype=torch.int64)}
        for trainer.state.global_step in range(2):  # one that draws samples, one that may go on with them
            trainer.compute_loss(trainer.model, inputs).backward()
        with pytest.raises(DataDependentOutputException):
            inputs["labels"].sum().item()
