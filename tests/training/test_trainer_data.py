"""What users give as data and models, beside examples: rows, their faults, several evaluation sets, encoders."""

import functools
import logging

import datasets
import numpy as np
import PIL.Image
import pytest
import torch
from helpers.models import make_tiny_policy
from helpers.photos import write_photos
from helpers.training import Scenes, stripes_of_class_one
from transformers import SegformerForImageClassification, SegformerImageProcessor

from rss_hf import RSSConfig, RSSTrainer, SegmentationTrainer
from rss_hf.data import load_segmentation_dataset, load_shapes, voc_palette
from rss_hf.evaluation import confusion_matrix, predict_maps
from rss_hf.training.trainer_data import name_views, need_masks


SIDE = {"height": 32, "width": 32}


@pytest.fixture
def rows():
    return load_shapes(size=32, num_classes=3, num_train=8, num_validation=4)


@pytest.fixture
def settings(tmp_path):
    return {
        "output_dir": str(tmp_path / "out"),
        "use_cpu": True,
        "disable_tqdm": True,
        "report_to": "none",
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "num_samples": 4,
        "save_strategy": "no",
    }


@pytest.fixture
def encoder(plain_config, tmp_path):
    """A classifier of 1000 classes, as encoders of the Hub are, with a processor of its own."""
    plain_config.num_labels = 1000
    SegformerForImageClassification(plain_config).save_pretrained(tmp_path / "encoder")
    SegformerImageProcessor(size=SIDE).save_pretrained(tmp_path / "encoder")
    return str(tmp_path / "encoder")


def test_an_encoder_gets_a_head_for_the_classes_of_the_masks(encoder, rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer = RSSTrainer(f"{encoder}/", reward_funcs=stripes_of_class_one, train_dataset=rows["train"])
    assert trainer.model.config.num_labels == 3
    assert trainer.args.output_dir == "encoder-trained"
    encoder_of_ours = trainer.model.segformer.state_dict()
    theirs = SegformerForImageClassification.from_pretrained(encoder).segformer.state_dict()
    assert all(torch.equal(encoder_of_ours[name], value) for name, value in theirs.items())


def test_rows_without_masks_do_not_say_the_classes(encoder, rows, settings):
    without = rows["train"].remove_columns("mask")
    with pytest.raises(ValueError, match=r"model_init_kwargs=\{'num_labels': ...\}"):
        RSSTrainer(encoder, RSSConfig(**settings), reward_funcs=stripes_of_class_one, train_dataset=without)


def test_all_faults_of_rows_are_told_before_a_step(rows, settings):
    images = [row["image"] for row in rows["train"]]
    masks = [np.asarray(row["mask"]).copy() for row in rows["train"]]
    masks[2][0, 0], masks[5] = 7, masks[5][:16]
    bad = datasets.Dataset.from_dict(
        {"image": images, "mask": [PIL.Image.fromarray(mask) for mask in masks]},
        features=datasets.Features({"image": datasets.Image(), "mask": datasets.Image()}),
    )
    with pytest.raises(ValueError, match=r"(?s)row 2 of split 'train'.*\[7\].*row 5 of split 'train'.*32x16"):
        RSSTrainer(make_tiny_policy(), RSSConfig(**settings), train_dataset=bad)


def test_masks_in_colours_are_read_by_the_palette(rows, settings):
    colours = np.array(voc_palette(3), np.uint8)

    def in_colours(row):
        ids = np.asarray(row["mask"])
        return {"mask": PIL.Image.fromarray(colours[np.where(ids == 255, 0, ids)])}

    coloured = rows["train"].map(in_colours, features=rows["train"].features)
    options = {"train_dataset": coloured, "processing_class": SegformerImageProcessor(size=SIDE)}
    with pytest.raises(ValueError, match="palette"):
        RSSTrainer(make_tiny_policy(), RSSConfig(**settings), **options)
    trainer = RSSTrainer(make_tiny_policy(), RSSConfig(**settings), palette=colours.tolist(), **options)
    labels = torch.stack([trainer.train_dataset[i]["labels"] for i in range(8)])
    assert set(labels.unique().tolist()) <= {0, 1, 2, 255} and (labels == 2).any()


def test_several_evaluation_sets_are_all_read(rows, settings):
    options = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 1, "save_steps": 1}
    sets = {"own": rows["validation"], "train": rows["validation"].select([0])}
    data = {
        "train_dataset": rows["train"],
        "eval_dataset": sets,
        "processing_class": SegformerImageProcessor(size=SIDE),
    }
    settings |= options | {"save_strategy": "steps"}
    with pytest.raises(ValueError, match=r"'mean_iou' is of none of the evaluation sets \['own', 'train'\]"):
        RSSTrainer(make_tiny_policy(), RSSConfig(**settings), **data)
    args = RSSConfig(**settings, metric_for_best_model="own_mean_iou")
    trainer = RSSTrainer(make_tiny_policy(), args, reward_funcs="mean_iou", **data)
    assert len(trainer.train_dataset) == len(rows["train"]), "not the evaluation set of that name"
    trainer.train()
    logged = [entry["eval_own_mean_iou"] for entry in trainer.state.log_history if "eval_own_mean_iou" in entry]
    assert len(logged) == 2 and trainer.state.best_metric == max(logged)


def test_a_data_set_of_splits_or_without_rows_is_refused(rows, settings):
    args = RSSConfig(**settings)
    for whole in (load_segmentation_dataset("shapes"), rows):
        with pytest.raises(ValueError, match="holds several splits"):
            RSSTrainer(make_tiny_policy(), args, train_dataset=whole)
    with pytest.raises(ValueError, match="given by its name, 'images,masks': load it"):
        RSSTrainer(make_tiny_policy(), args, train_dataset="images,masks")
    with pytest.raises(ValueError, match="without rows"):
        RSSTrainer(make_tiny_policy(), args, train_dataset=rows["train"], eval_dataset=rows["train"].select([]))


def test_the_size_that_nobody_chose_is_told(rows, settings, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("rss_hf"), "propagate", True)
    trainer = RSSTrainer(make_tiny_policy(), RSSConfig(**settings), train_dataset=rows["train"])
    assert trainer.train_dataset[0]["pixel_values"].shape == (3, 512, 512)
    assert "resized to 512x512" in caplog.text


def test_what_would_have_no_effect_is_refused(settings):
    model, scenes = make_tiny_policy(), Scenes()
    with pytest.raises(ValueError, match="model_init_kwargs=.* has no effect on a model"):
        RSSTrainer(model, RSSConfig(**settings, model_init_kwargs={"num_labels": 3}), train_dataset=scenes)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    args = RSSConfig(**settings, encoder_learning_rate=1e-4)
    with pytest.raises(ValueError, match="encoder_learning_rate=0.0001 has no effect on an optimizer"):
        RSSTrainer(model, args, train_dataset=scenes, optimizers=(optimizer, None))
    with pytest.raises(ValueError, match="group_by_length"):
        RSSConfig(**settings, train_sampling_strategy="group_by_length")
    with pytest.raises(ValueError, match="num_iterations=2, which draws batches at random"):
        RSSConfig(**settings, train_sampling_strategy="sequential", num_iterations=2)
    with pytest.raises(ValueError, match="dispatch_batches"):
        RSSConfig(**settings, accelerator_config={"dispatch_batches": True})


def test_a_model_that_is_made_late_is_checked_too(rows, settings):
    def thousand_classes():
        model = make_tiny_policy()
        model.config.num_labels = 1000
        return model

    with pytest.raises(ValueError, match="1000 classes, and at most 255"):
        RSSTrainer(None, RSSConfig(**settings), train_dataset=Scenes(), model_init=thousand_classes)
    trainer = RSSTrainer(
        None,
        RSSConfig(**settings),
        reward_funcs="mean_iou",
        train_dataset=rows["train"],
        processing_class=SegformerImageProcessor(size=SIDE),
        model_init=make_tiny_policy,
    )
    trainer.train()
    assert trainer.state.global_step == 2
    with pytest.raises(ValueError, match="Linear has no config.num_labels"):
        SegmentationTrainer(torch.nn.Linear(2, 2), RSSConfig(**settings), train_dataset=Scenes())
    with pytest.raises((RuntimeError, ValueError), match="model"):
        RSSTrainer(None, RSSConfig(**settings), train_dataset=Scenes())


def without_masks(rows, keep=()):
    """The same rows, their masks None but for those at the indices `keep`."""
    stored = rows.cast_column("mask", datasets.Image(decode=False))
    masks = [row["mask"] if index in keep else None for index, row in enumerate(stored)]
    return rows.remove_columns("mask").add_column("mask", masks, feature=datasets.Image())


def test_a_folder_of_images_goes_to_the_trainer_as_it_is(settings, encoder, tmp_path, caplog):
    """With the encoder's own processor, whole images, and a column of metadata for the reward."""
    areas, seen = write_photos(tmp_path), []

    def area_error(predictions, areas=None, pixel_values=None, **columns):
        seen.append((pixel_values, areas, set(columns)))
        return [-abs(float((p == 1).float().mean()) - a) for p, a in zip(predictions, areas, strict=True)]

    data = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "photos"))
    args = RSSConfig(**settings, model_init_kwargs={"num_labels": 2})
    with caplog.at_level(logging.INFO, "rss_hf"):
        trainer = RSSTrainer(
            encoder, args, reward_funcs=area_error, train_dataset=data["train"], eval_dataset=data["validation"]
        )
    assert caplog.text.count("no masks: training by reward alone") == 1
    trainer.train()
    pixel_values, given, others = seen[1]  # the first call is a trial
    assert pixel_values.shape == (16, 3, 32, 32) and set(given) <= set(areas["train"]) and "valid" not in others
    seen.clear()
    metrics, model = trainer.evaluate(), trainer.model.eval()
    pixel_values, given, _ = seen[0]  # of the most probable maps, then of drawn ones
    maps = predict_maps(model, pixel_values, [(32, 32)] * 3)
    assert given == areas["validation"]
    expected = -sum(abs((m == 1).float().mean() - a) for m, a in zip(maps, given, strict=True)) / 3
    assert metrics["eval_reward"] == pytest.approx(expected.item(), abs=1e-6)


def test_rewards_that_name_a_view_are_given_it(settings, rows):
    seen = []

    def upper(predictions, flipped, crop, **columns):
        seen.append((flipped, crop, columns["valid"]))
        return (predictions == 1).float().mean((1, 2))

    processor = SegformerImageProcessor(size=SIDE)
    trainer = RSSTrainer(
        make_tiny_policy(),
        RSSConfig(**settings),
        reward_funcs=upper,
        train_dataset=rows["train"],
        eval_dataset=rows["validation"].remove_columns("mask"),
        processing_class=processor,
    )
    trainer.train()
    flipped, crop, valid = (torch.cat(parts) for parts in zip(*seen[1:], strict=True))  # after the trial
    assert flipped.shape == (32,) and crop.shape == (32, 4) and valid.shape == (32, 32, 32)
    example = trainer.train_dataset[0]
    assert set(example) == {"pixel_values", "labels", "valid", "crop", "flipped"}
    seen.clear()
    trainer.evaluate()
    flipped, crop, valid = (torch.cat(parts) for parts in zip(*seen, strict=True))
    assert not flipped.any() and valid.all() and crop.tolist() == [[0, 0, 1, 1]] * (4 + 4 * 4)


def test_what_rewards_name():
    def plain(predictions, **columns): ...

    def cropped(predictions, crop=None, **columns): ...

    @functools.wraps(cropped)
    def wrapped(*arguments, **columns): ...

    class Judge:
        def __call__(self, predictions, *, valid): ...

    assert not name_views([plain, "x".join, print]) and need_masks([plain, cropped]) == []
    for reward in (cropped, wrapped, functools.partial(cropped, crop=1), Judge()):
        assert name_views([plain, reward])
    trainer_rewards = RSSConfig("out").reward_funcs
    assert trainer_rewards == ["batch_log_iou"]


def test_cross_entropy_learns_from_rows_with_masks_alone(settings, rows, caplog):
    """The same weights as from those rows; rewards go on with all of them."""
    some = without_masks(rows["train"], keep=(1, 2, 5, 7))
    options = {"eval_dataset": without_masks(rows["validation"], keep=(0, 3))}
    options |= {"processing_class": SegformerImageProcessor(size=SIDE)}
    args = RSSConfig(**settings | {"max_steps": 1})
    trainer = SegmentationTrainer(make_tiny_policy(), args, train_dataset=some, **options)
    assert len(trainer.train_dataset) == 4 and "4 of 8 rows have no mask and are left out" in caplog.text
    assert "split 'train': 4 of 8 rows have no mask" in caplog.text
    trainer.train()
    assert np.isfinite(trainer.state.log_history[-1]["train_loss"])
    metrics, counts = trainer.evaluate(), torch.zeros(3, 3, dtype=torch.int64)
    for index in (0, 3):
        example = trainer.eval_dataset[index]
        labels = torch.from_numpy(np.array(rows["validation"][index]["mask"])).long()
        [prediction] = predict_maps(trainer.model.eval(), example["pixel_values"][None], [labels.shape])
        counts += confusion_matrix(prediction, labels, 3)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    assert metrics["eval_mean_iou"] == pytest.approx((counts.diagonal() / union).nanmean().item())
    assert len(RSSTrainer(make_tiny_policy(), args, train_dataset=some, **options).train_dataset) == 8


@pytest.mark.parametrize("keep", ["training", "validation", "neither"])
def test_who_needs_masks_says_what_there_is(settings, rows, keep):
    for trainer_class, told in ((SegmentationTrainer, "Cross-entropy needs"), (RSSTrainer, "Built-in rewards")):
        data = {
            f"{short}_dataset": rows[split] if keep == name else without_masks(rows[split]).add_column("tags", tags)
            for short, split, name, tags in (
                ("train", "train", "training", ["a"] * 8),
                ("eval", "validation", "validation", ["b"] * 4),
            )
        }
        first = "validation" if keep == "training" else "training"
        message = rf"{told}.* masks, and the {first} data has none: images are in \['image'\], other .*\['tags'\]\. "
        with pytest.raises(ValueError, match=message):
            trainer_class(make_tiny_policy(), RSSConfig(**settings), **data)
    RSSTrainer(make_tiny_policy(), RSSConfig(**settings), reward_funcs=stripes_of_class_one, **data)
