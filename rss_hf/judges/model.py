"""A frozen classifier as a judge: it looks at the image inside and outside of each class's region."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification

from .class_tags import class_ids


class ModelReward:
    """
    The reward of an image classifier: for each class, its probability where the image is shown inside the region that
    the map gives it, less that where it is shown outside; mean over classes. What is not shown has the image's mean
    colour. Classes are those that the image is tagged with, in a column `class_tags`, or else those in the map.

    Args:
        model_name_or_path (`str`): Hub id or folder of an image classifier; safetensors, no code of its own.
        labels (`Mapping[str, str]`, *optional*):
            The classifier's label for each class that is judged; without it, classes that are labels by name.
        batch_size (`int`, *optional*, defaults to 64): images that the classifier sees at once.
        device (`torch.device` or `str`, *optional*, defaults to the CPU): of the classifier.

    Raises:
        ValueError: for a label that the classifier does not have.
    """

    def __init__(
        self,
        model_name_or_path: str,
        labels: Mapping[str, str] | None = None,
        batch_size: int = 64,
        device: torch.device | str = "cpu",
    ):
        self.__name__ = "model_reward"
        self.model = AutoModelForImageClassification.from_pretrained(model_name_or_path, use_safetensors=True)
        self.model = self.model.eval().requires_grad_(False).to(device)
        self.processor = AutoImageProcessor.from_pretrained(model_name_or_path)
        self.places = {name: int(i) for i, name in self.model.config.id2label.items()}
        self.labels, self.batch_size = labels, batch_size
        if unknown := sorted(set((labels or {}).values()) - self.places.keys()):
            raise ValueError(f"{model_name_or_path} has no label {unknown[0]!r}, only {sorted(self.places)[:20]}.")

    def __call__(
        self,
        predictions: torch.Tensor,
        images: list[PIL.Image.Image],
        class_names: list[str],
        class_tags: Sequence[Any] | None = None,
    ) -> torch.Tensor:
        """
        Args:
            predictions (`torch.Tensor` of shape `(N, H, W)`): int64 in [0, C).
            images (`list[PIL.Image.Image]`): N images, RGB, H x W.
            class_names (`list[str]`): C names by class id.
            class_tags (`Sequence`, *optional*): as for [`~rss_hf.judges.class_tags`].

        Returns:
            `torch.Tensor` of shape `(N,)`: float32 in [-1, 1], NaN for a map without a class that is judged.
        """
        labels = [self._label(name) for name in class_names]
        judged = {i: self.places[label] for i, label in enumerate(labels) if label is not None}
        if not judged:
            raise ValueError(f"No class of {class_names} is a label of the classifier: give labels={{class: label}}.")
        maps, shown, owners = predictions.cpu().numpy(), [], []
        for n, (class_map, image) in enumerate(zip(maps, images, strict=True)):
            pixels = np.asarray(image)
            mean = pixels.mean((0, 1)).astype(np.uint8)
            tags = None if class_tags is None else class_tags[n]
            classes = np.unique(class_map).tolist() if tags is None else class_ids(tags, class_names)
            for c in (c for c in classes if c in judged):
                inside = (class_map == c)[..., None]
                shown += [np.where(inside, pixels, mean), np.where(inside, mean, pixels)]
                owners.append((n, judged[c]))
        sums, counts = torch.zeros(2, len(maps))
        if owners:
            rows, labels = torch.tensor(owners).T
            probs = self._probabilities(shown).view(len(owners), 2, -1)
            probs = probs.gather(2, labels.view(-1, 1, 1).expand(-1, 2, 1))[..., 0]
            sums.index_add_(0, rows, probs[:, 0] - probs[:, 1])
            counts.index_add_(0, rows, torch.ones(len(owners)))
        return sums / counts

    def _label(self, name: str) -> str | None:
        if self.labels is not None:
            return self.labels.get(name)
        return name if name in self.places else None

    @torch.no_grad()
    def _probabilities(self, shown: list[np.ndarray]) -> torch.Tensor:
        parts = []
        for start in range(0, len(shown), self.batch_size):
            batch = [PIL.Image.fromarray(pixels) for pixels in shown[start : start + self.batch_size]]
            inputs = self.processor(batch, return_tensors="pt").to(self.model.device)
            parts.append(self.model(**inputs).logits.float().softmax(-1).cpu())
        return torch.cat(parts)
