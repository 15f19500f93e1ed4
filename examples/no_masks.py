"""
Trains on images without masks: `python examples/no_masks.py --judge areas`. One CPU core: two minutes.

The images are drawn: rectangles, red or blue, on a background of any colour. What is known of one is

    areas   which fraction of it is red, and which is blue: the reward `class_areas`;
    tags    whether it has any red and any blue: the reward `class_tags`;
    model   the same tags, and a classifier that was trained on them looks at each region: `ModelReward`.

The masks of the validation images are kept to say how well the regions fit. Nothing is trained on them.
"""

import argparse
import random
from pathlib import Path

import datasets
import torch
from PIL import Image, ImageDraw
from transformers import ResNetConfig, ResNetForImageClassification

from rss_hf import RSSConfig, RSSTrainer
from rss_hf.judges import ModelReward, class_tags
from rss_hf.recipes import recipe
from rss_hf.training import load_image_processor, load_model


CLASSES = ["other", "red", "blue"]
SIZE = 64


def draw(count: int, seed: int) -> datasets.Dataset:
    """Images and masks of one size, with the columns `class_tags` and `class_areas`."""
    chance, rows = random.Random(seed), {"image": [], "mask": [], "class_tags": [], "class_areas": []}
    for _ in range(count):
        image = Image.new("RGB", (SIZE, SIZE), tuple(chance.choices(range(60, 160), k=3)))
        mask = Image.new("L", (SIZE, SIZE))
        for c, colour in ((1, (220, 40, 40)), (2, (40, 60, 230))):
            if chance.random() < 0.6:
                x, y = chance.choices(range(SIZE - 16), k=2)
                box = (x, y, x + chance.randint(12, 32), y + chance.randint(12, 32))
                ImageDraw.Draw(image).rectangle(box, fill=colour)
                ImageDraw.Draw(mask).rectangle(box, fill=c)
        counts = mask.histogram()[: len(CLASSES)]
        rows["image"].append(image)
        rows["mask"].append(mask)
        rows["class_tags"].append([name for name, n in zip(CLASSES, counts, strict=True) if n])
        rows["class_areas"].append([n / SIZE**2 for n in counts])
    return datasets.Dataset.from_dict(rows)


def train_classifier(rows: datasets.Dataset, folder: Path, steps: int) -> None:
    """A small network that says of an image which colour is in it, saved with its image processor."""
    id2label = dict(enumerate(CLASSES))
    sizes = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]}
    config = ResNetConfig(**sizes, layer_type="basic", id2label=id2label)
    model, processor = ResNetForImageClassification(config), load_image_processor(None, (SIZE, SIZE))
    alone = [row for row in rows if len(row["class_tags"]) <= 2]  # a background with one colour, or with none
    labels = torch.tensor([CLASSES.index(row["class_tags"][-1]) for row in alone])
    pixel_values = processor([row["image"] for row in alone], return_tensors="pt")["pixel_values"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        batch = torch.arange(32 * step, 32 * step + 32) % len(labels)
        model(pixel_values[batch], labels=labels[batch]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", choices=["areas", "tags", "model"], default="areas")
    parser.add_argument("--max_steps", type=int, default=150)
    parser.add_argument("--output_dir", default="outputs/no_masks")
    options = parser.parse_args()

    torch.manual_seed(0)
    train, validation = draw(400, seed=0), draw(64, seed=1)
    rewards = {"areas": ["class_areas"], "tags": ["class_tags"]}
    if options.judge == "model":
        folder = Path(options.output_dir, "classifier")
        train_classifier(train, folder, options.max_steps)
        rewards["model"] = [ModelReward(str(folder), labels={"red": "red", "blue": "blue"}), class_tags]
    settings = recipe("areas_or_tags") | {"num_samples": 16, "per_device_train_batch_size": 32}
    args = RSSConfig(options.output_dir, max_steps=options.max_steps, report_to="none", **settings)
    trainer = RSSTrainer(
        load_model(None, dict(enumerate(CLASSES))),
        args,
        reward_funcs=rewards[options.judge],
        train_dataset=train.remove_columns("mask"),
        eval_dataset=validation,
        processing_class=load_image_processor(None, (SIZE, SIZE)),
    )
    trainer.train()
    for name, score in trainer.evaluate().items():
        if "reward" in name or name == "eval_mean_iou":
            print(f"{name:32} {score:.3f}")  # noqa: T201


if __name__ == "__main__":
    main()
