"""Scenes of stripes, and short training runs on them."""

import torch
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


def train(model, output_dir, scenes=None, reward_funcs=None, resume=None, trainer_class=RSSTrainer, **kwargs):
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
    args = RSSConfig(output_dir=str(output_dir), use_cpu=True, **(settings | kwargs))
    scenes = scenes or Scenes()
    options = {} if reward_funcs is None else {"reward_funcs": reward_funcs}
    trainer = trainer_class(model=model, args=args, train_dataset=scenes, eval_dataset=scenes, **options)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def logged(trainer, *names):
    return [[entry[name] for name in names] for entry in trainer.state.log_history if "loss" in entry]


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


CRITIC = {"credit": "critic", "advantage_normalization": "none", "confidence_coef": 1.0, "entropy_coef": 0.0}
