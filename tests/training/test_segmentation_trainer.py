"""What users of transformers and TRL type: names, rows, defaults that work, arguments that are refused."""

import datasets
import pytest
import torch
from helpers.models import make_tiny_policy
from helpers.training import Scenes, stripes_of_class_one
from transformers import SegformerForSemanticSegmentation, SegformerImageProcessor

from rss_hf import RSSConfig, RSSSegformerForSemanticSegmentation, RSSTrainer, SegmentationConfig, SegmentationTrainer
from rss_hf.data import EvalTransform, SegmentationDataset, load_shapes, training_examples


@pytest.fixture
def rows():
    return load_shapes(size=32, num_classes=3, num_train=8, num_validation=4)


@pytest.fixture
def quiet(tmp_path):
    """Settings of a short run on the CPU."""
    steps = {"max_steps": 2, "per_device_train_batch_size": 4, "num_samples": 4, "save_strategy": "no"}
    return {"output_dir": str(tmp_path / "out"), "use_cpu": True, "disable_tqdm": True, "report_to": "none"} | steps


@pytest.fixture
def checkpoint(plain_config, tmp_path):
    """A model saved with an image processor of its own size."""
    SegformerForSemanticSegmentation(plain_config).save_pretrained(tmp_path / "model")
    SegformerImageProcessor(size={"height": 32, "width": 48}).save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def test_a_name_and_rows_and_one_reward_are_enough(checkpoint, rows, quiet, tmp_path):
    """The processor that was saved with the model makes the examples, and is saved with the new one."""
    args = RSSConfig(**quiet)
    trainer = RSSTrainer(
        checkpoint, args, reward_funcs="mean_iou", train_dataset=rows["train"], eval_dataset=rows["validation"]
    )
    assert type(trainer.model) is RSSSegformerForSemanticSegmentation
    assert trainer.train_dataset[0]["pixel_values"].shape == (3, 32, 48)
    trainer.train()
    assert 0 <= trainer.evaluate()["eval_mean_iou"] <= 1
    trainer.save_model()
    assert SegformerImageProcessor.from_pretrained(args.output_dir).size["width"] == 48
    [logs] = [entry for entry in trainer.state.log_history if "train_runtime" in entry]
    assert logs["reward_calls"] == 2 * 4 * 4


def test_args_may_be_left_out(rows, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    trainer = RSSTrainer(make_tiny_policy(), reward_funcs=stripes_of_class_one, train_dataset=rows["train"])
    assert isinstance(trainer.args, RSSConfig) and trainer.rewards.names == ["stripes_of_class_one"]
    assert trainer.args.learning_rate == 1e-3 and trainer.args.do_train


def test_the_defaults_learn(new_policy, tmp_path):
    """No setting but the output folder and the number of steps."""
    args = RSSConfig(str(tmp_path), max_steps=150, use_cpu=True, report_to="none", disable_tqdm=True)
    trainer = RSSTrainer(new_policy(), args, train_dataset=Scenes(), eval_dataset=Scenes())
    before = trainer.evaluate()["eval_mean_iou"]
    trainer.train()
    assert trainer.evaluate()["eval_mean_iou"] > before + 0.3


def test_an_encoder_of_too_many_classes_names_the_remedy(plain_config, rows, quiet, tmp_path):
    plain_config.num_labels = 1000
    SegformerForSemanticSegmentation(plain_config).save_pretrained(tmp_path / "encoder")
    SegformerImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "encoder")
    name = str(tmp_path / "encoder")
    with pytest.raises(
        ValueError, match=r"has 1000 classes, and at most 255.*model_init_kwargs=\{'num_labels': ...\}"
    ):
        RSSTrainer(name, RSSConfig(**quiet), train_dataset=rows["train"])
    options = {"num_labels": 3, "ignore_mismatched_sizes": True}
    trainer = RSSTrainer(name, RSSConfig(**quiet, model_init_kwargs=options), train_dataset=rows["train"])
    assert trainer.model.config.num_labels == 3
    trainer.model.config.semantic_loss_ignore_index = 2
    with pytest.raises(ValueError, match="ignore index 2, which is one of its 3 classes"):
        RSSTrainer(trainer.model, RSSConfig(**quiet), train_dataset=rows["train"])


def test_the_ignore_index_of_the_model_is_that_of_examples_and_rewards(new_policy, rows, quiet):
    model = new_policy()
    model.config.semantic_loss_ignore_index = -100
    processor = SegformerImageProcessor(size={"height": 32, "width": 32})
    trainer = RSSTrainer(
        model,
        RSSConfig(**quiet),
        reward_funcs=["mean_iou"],
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        processing_class=processor,
    )
    labels = torch.stack([trainer.train_dataset[i]["labels"] for i in range(8)])
    assert set(labels.unique().tolist()) == {-100, 0, 1, 2}
    trainer.train()
    expected = RSSTrainer(
        new_policy().eval(), RSSConfig(**quiet), eval_dataset=rows["validation"], processing_class=processor
    )
    expected.model.load_state_dict(trainer.model.state_dict())
    scores = [t.evaluate()["eval_mean_iou"] for t in (trainer, expected)]
    assert scores[0] == scores[1]


def test_the_processor_of_the_examples_is_saved(new_policy, rows, quiet):
    processor = SegformerImageProcessor(size={"height": 32, "width": 64})
    validation = SegmentationDataset(rows["validation"], EvalTransform(processor))
    trainer = RSSTrainer(new_policy(), RSSConfig(**quiet), train_dataset=Scenes(), eval_dataset=validation)
    assert trainer.processing_class is processor


def test_evaluation_without_labels_is_by_reward(new_policy, rows, quiet, tmp_path):
    """Of the most probable maps; it also chooses the best checkpoint."""
    without = {split: part.remove_columns("mask") for split, part in rows.items()}
    checkpoints = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    args = RSSConfig(**quiet | checkpoints | {"max_steps": 3}, load_best_model_at_end=True, learning_rate=0.05)

    def share_of_class_one(predictions, references=None, **columns):
        assert references is None
        return (predictions == 1).float().mean((1, 2))

    trainer = RSSTrainer(
        new_policy(),
        args,
        reward_funcs=[share_of_class_one],
        train_dataset=without["train"],
        eval_dataset=without["validation"],
        processing_class=SegformerImageProcessor(size={"height": 32, "width": 32}),
    )
    assert args.metric_for_best_model == "reward" and args.greater_is_better
    trainer.train()
    rewards = [entry["eval_reward"] for entry in trainer.state.log_history if "eval_reward" in entry]
    assert trainer.state.best_metric == max(rewards)
    with torch.no_grad():
        images = torch.stack([example["pixel_values"] for example in trainer.eval_dataset])
        logits = torch.nn.functional.interpolate(
            trainer.model.eval()(pixel_values=images).logits, scale_factor=4, mode="bilinear"
        )
    expected = (logits.argmax(1) == 1).float().mean((1, 2)).mean().item()
    scores = trainer.evaluate()
    assert scores["eval_reward"] == scores["eval_reward/share_of_class_one"] == pytest.approx(expected, abs=1e-6)


def test_the_best_model_needs_no_metric_named(tmp_path):
    settings = {"load_best_model_at_end": True, "eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 500}
    args = SegmentationConfig(str(tmp_path), **settings)
    assert args.metric_for_best_model == "mean_iou" and args.greater_is_better
    plateau = {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "steps", "eval_steps": 5}
    assert SegmentationConfig(str(tmp_path), **plateau).metric_for_best_model == "mean_iou"
    best = {"save_strategy": "best", "eval_strategy": "steps", "eval_steps": 5}
    assert SegmentationConfig(str(tmp_path), **best).metric_for_best_model == "mean_iou"


@pytest.mark.parametrize(
    "name, value",
    [
        ("label_smoothing_factor", 0.1),
        ("prediction_loss_only", True),
        ("batch_eval_metrics", True),
        ("include_for_metrics", ["inputs"]),
        ("eval_do_concat_batches", False),
        ("eval_accumulation_steps", 2),
        ("label_names", ["labels"]),
        ("neftune_noise_alpha", 1.0),
    ],
)
def test_arguments_without_effect_are_refused(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"{name}=.* has no effect"):
        SegmentationConfig(str(tmp_path), **{name: value})


@pytest.mark.parametrize("name", ["compute_metrics", "preprocess_logits_for_metrics", "compute_loss_func"])
def test_functions_without_effect_are_refused(new_policy, quiet, name):
    with pytest.raises(ValueError, match=f"{name} has no effect"):
        RSSTrainer(new_policy(), RSSConfig(**quiet), train_dataset=Scenes(), **{name: lambda *_: {}})


def test_cross_entropy_takes_a_loss_of_the_users(new_policy, quiet):
    def loss(outputs, labels, num_items_in_batch=None):
        return outputs.logits.square().mean()

    args = SegmentationConfig(**{name: value for name, value in quiet.items() if name != "num_samples"})
    trainer = SegmentationTrainer(new_policy(), args, train_dataset=Scenes(), compute_loss_func=loss)
    trainer.train()
    assert isinstance(trainer.train_dataset, Scenes) and trainer.state.global_step == 2


def test_rows_that_are_examples_already_are_left_as_they_are(new_policy, quiet):
    scenes = [{"pixel_values": row["pixel_values"], "labels": row["labels"]} for row in Scenes(8).rows]
    examples = datasets.Dataset.from_list([{k: v.tolist() for k, v in row.items()} for row in scenes]).with_format(
        "torch"
    )
    trainer = RSSTrainer(new_policy(), RSSConfig(**quiet), reward_funcs="mean_iou", train_dataset=examples)
    trainer.train()
    assert trainer.train_dataset is examples and trainer.state.global_step == 2


@pytest.mark.parametrize(
    "fault, message",
    [
        (lambda row: row["labels"].add_(1).mul_(2), r"ids without a class, \[4, 6.*examples \[0"),
        (lambda row: row.update(labels=row["labels"].float()), "labels is float32.*labels.long()"),
        (lambda row: row.update(labels=row["labels"][None]), "remove the channel dimension"),
        (lambda row: row.update(labels=None), r"labels is None in (2 of 2|8 of 8) examples"),
        (lambda row: row.update(pixel_values=row["pixel_values"] / 0), "NaN or infinite values"),
        (lambda row: row.update(image=row.pop("pixel_values")), "no pixel_values"),
    ],
)
@pytest.mark.parametrize("trainer_class", [RSSTrainer, SegmentationTrainer])
def test_a_first_batch_that_cannot_be_learned_from_is_refused(new_policy, quiet, fault, message, trainer_class):
    scenes = Scenes()
    for row in scenes.rows:
        fault(row)
    with pytest.raises(ValueError, match=message):
        trainer_class(
            new_policy(), RSSConfig(**quiet | {"per_device_train_batch_size": 8}), train_dataset=scenes
        ).train()


def test_augmentation_follows_the_epoch_inside_other_data_sets(new_policy, rows, quiet):
    """Each epoch of a `Subset` of a `ConcatDataset` draws anew."""
    processor = SegformerImageProcessor(size={"height": 32, "width": 32})
    parts = [training_examples(rows["train"], processor), training_examples(rows["validation"], processor)]
    subset = torch.utils.data.Subset(torch.utils.data.ConcatDataset(parts), [0, 9])
    args = RSSConfig(**quiet | {"max_steps": 3, "per_device_train_batch_size": 2})
    RSSTrainer(new_policy(), args, reward_funcs="mean_iou", train_dataset=subset).train()
    assert [part.epoch.item() for part in parts] == [2, 2]
