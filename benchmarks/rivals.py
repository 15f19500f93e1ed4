"""
Losses that a user would pick instead of a reward, on the masks or on what a judge knew of them.

    python benchmarks/rivals.py lovasz_softmax --config configs/shapes.yaml --objective cross_entropy

trains as `rss-hf train --objective cross_entropy` does, with the loss named first. All are of logits (B, C, H, W) at
the size of the labels (B, H, W), 255 where unlabelled.
"""

import sys

import torch
import torch.nn.functional as F

from rss_hf.cli import train
from rss_hf.constants import IGNORE_INDEX
from rss_hf.rewards.boundary import class_boundary, dilate, fill_lines


def soft_dice(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """1 - Dice of the batch's probabilities, mean over the classes in its labels (Milletari et al., 2016)."""
    probs, truth = by_class(logits, labels)
    overlap, total = (probs * truth).sum(0), (probs + truth).sum(0)
    return (1 - 2 * overlap / total.clamp(min=1e-7))[truth.sum(0) > 0].mean()


def lovasz_softmax(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The Lovasz extension of 1 - IoU of the batch, mean over the classes in its labels (Berman et al., 2018)."""
    probs, truth = by_class(logits, labels)
    losses = []
    for p, t in zip(probs.T, truth.T, strict=True):
        if t.sum() > 0:
            errors, order = (t - p).abs().sort(descending=True)
            t = t[order]
            union = t.sum() + (1 - t).cumsum(0)
            jaccard = 1 - (t.sum() - t.cumsum(0)) / union
            losses.append(errors @ jaccard.diff(prepend=jaccard.new_zeros(1)))
    return torch.stack(losses).mean()


def boundary_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in which a pixel within 2 pixels of a boundary counts five times."""
    near, filled = torch.zeros_like(labels, dtype=torch.bool), fill_lines(labels.to(torch.uint8), 3)
    for c in range(logits.shape[1]):
        near |= dilate(class_boundary(filled, c), 2)
    weights = torch.where(near, 5.0, 1.0) * (labels != IGNORE_INDEX)
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="none")
    return (weights * losses).sum() / weights.sum()


def areas(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each image's mean probabilities with the fractions that its classes cover."""
    probs, truth, valid = masked(logits, labels)
    found, known = (of_class.sum((2, 3)) / valid.sum((1, 2)).clamp(min=1)[:, None] for of_class in (probs, truth))
    return -(known * found.clamp(min=1e-7).log()).sum(1).mean()


def tags(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of each class's pooled probability with its tag, by log-sum-exp (Pinheiro et al., 2015)."""
    probs, truth, _ = masked(logits, labels)
    tagged = (truth.sum((2, 3)) > 0).float()
    pooled = (5 * probs.flatten(2)).logsumexp(2).sub(torch.tensor(float(probs[0, 0].numel())).log()) / 5
    return F.binary_cross_entropy(pooled.clamp(1e-6, 1 - 1e-6), tagged)


def classifier(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of mean logits with tags: a classifier whose logits are class activation maps."""
    tagged = F.one_hot(labels.where(labels != IGNORE_INDEX, 0), logits.shape[1]).amax((1, 2)).float()
    return F.binary_cross_entropy_with_logits(logits.mean((2, 3))[:, 1:], tagged[:, 1:])


LOSSES = {f.__name__: f for f in (soft_dice, lovasz_softmax, boundary_cross_entropy, areas, tags, classifier)}


def masked(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Probabilities and one-hot labels (B, C, H, W), 0 where unlabelled, and what is labelled (B, H, W)."""
    valid = (labels != IGNORE_INDEX).float()
    truth = F.one_hot(labels.where(labels != IGNORE_INDEX, 0), logits.shape[1]).movedim(-1, 1)
    return logits.softmax(1) * valid[:, None], truth * valid[:, None], valid


def by_class(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities and one-hot labels (P, C) of the batch's labelled pixels."""
    probs, truth, valid = masked(logits, labels)
    return tuple(of_class.movedim(1, -1)[valid > 0] for of_class in (probs, truth))


def main(name: str, argv: list[str]) -> None:
    """Trains on one of the losses."""
    trainer, data, checkpoint = train.prepare(argv)

    def loss(outputs, labels, num_items_in_batch=None):
        return LOSSES[name](F.interpolate(outputs.logits, labels.shape[-2:], mode="bilinear"), labels)

    trainer.compute_loss_func = loss
    train.run(trainer, data, checkpoint)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
