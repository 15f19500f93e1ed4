"""A Trainer for segmentation: evaluation by one confusion matrix at the labels' own size, safe resuming."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import BaseImageProcessor, EarlyStoppingCallback, PreTrainedModel, Trainer, TrainerCallback
from transformers.trainer_utils import EvalLoopOutput, has_length

from ..data import (
    DataSource,
    SegmentationDataset,
    check_batch,
    collate,
    labelled_examples,
    reduces_labels,
    set_epoch,
)
from ..evaluation import evaluate_model, segmentation_scores
from ..hub.push import HubPushMixin
from .encoder import find_encoder, freeze_batch_norm
from .model_loading import check_classes, has_segmentation_head, ignore_index_of, load_image_processor, load_model
from .safe_training import SafeTrainingMixin
from .segmentation_config import SegmentationConfig
from .trainer_data import (
    as_list,
    check_dataset,
    count_classes,
    find_image_processor,
    holds_images,
    make_examples,
    require_masks,
)


class EpochCallback(TrainerCallback):
    """Tells the training set the epoch, so that augmentation depends on (seed, epoch, row) alone, also on resume."""

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        set_epoch(train_dataloader.dataset, int(state.epoch))


class SegmentationTrainer(SafeTrainingMixin, HubPushMixin, Trainer):
    """
    [`~transformers.Trainer`] for any model whose output has `logits` (B, C, h, w). By itself it trains on the model's
    own loss (cross-entropy on `labels`); [`RSSTrainer`] trains on rewards.

    `evaluate` follows the protocol of PASCAL VOC: logits upsampled to each label map's original size, one confusion
    matrix over the whole split and all processes, void left out. It returns `eval_mean_iou`, `eval_mean_accuracy`,
    `eval_overall_accuracy` and, for each class, `eval_iou_<name>` and `eval_accuracy_<name>`, all in [0, 1]. Its
    memory does not grow with the split. Class names and the ignore index are those of the model's configuration.

    Args:
        model (`str` or `nn.Module`):
            A model, or the name of one ([`~rss_hf.training.load_model`]), loaded with `args.model_init_kwargs`.
        args ([`SegmentationConfig`], *optional*): Its defaults, if it is left out.
        train_dataset, eval_dataset (*optional*):
            Examples with `pixel_values` (3, H, W) float32, maybe `labels` (H, W) int64, and other columns; or the
            rows of a 🤗 data set with images and maybe masks, of which the trainer makes examples
            ([`~rss_hf.data.training_examples`]) with the image processor. Cross-entropy leaves out training rows
            without a mask.
        processing_class (`BaseImageProcessor`, *optional*):
            Saved with the model, so that prediction reads what was trained. Where it is left out: that of the
            examples, or the one saved with the model, or, for rows, SegFormer's own, of 512x512 pixels.
        palette (`list[tuple[int, int, int]]` or `list[str]`, *optional*):
            For rows: the colour of each class in RGB masks, which are refused without it.
        data_source ([`~rss_hf.data.DataSource`], *optional*): What the model card says of the data.
        kwargs: as for [`~transformers.Trainer`].

    All images and masks of rows are read once here, before any step, and the result is kept for the next time.

    Raises:
        ValueError: for arguments of the Trainer that would have no effect, a model of more than 255 classes, or rows
            that cannot be read; it lists all of them.
    """

    config_class: type[SegmentationConfig] = SegmentationConfig
    training_signal = "trained on labels (cross-entropy)"
    _paper: dict[str, str] | None = None
    _tag_names = ["semantic-segmentation"]

    # The loss is a mean over the micro-batch: the Trainer is to divide it by the accumulation steps. Left to guess, it
    # takes SegFormer's **kwargs for a loss that is already divided.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: str | nn.Module | None = None,
        args: SegmentationConfig | None = None,
        data_collator=collate,
        train_dataset: Dataset | datasets.Dataset | None = None,
        eval_dataset: Dataset | datasets.Dataset | None = None,
        processing_class: BaseImageProcessor | None = None,
        *,
        palette: Sequence[str | Sequence[int]] | None = None,
        data_source: DataSource | None = None,
        **kwargs: Any,
    ):
        self.palette, self.data_source = palette, data_source
        self.has_checked_batch = False
        args = self.default_args(model) if args is None else args
        if not isinstance(args, SegmentationConfig):
            raise TypeError(f"args must be a SegmentationConfig or an RSSConfig, got a {type(args).__name__}.")
        for dataset in (train_dataset, *as_list(eval_dataset)):
            check_dataset(dataset)
        self.refuse_without_effect(args, model, kwargs)
        rows = [dataset for dataset in (train_dataset, *as_list(eval_dataset)) if holds_images(dataset)]
        if isinstance(model, str):
            options = args.model_init_kwargs or {}
            source = {name: options[name] for name in ("revision", "trust_remote_code") if name in options}
            processing_class = processing_class or load_image_processor(model, **source)
            if rows and not has_segmentation_head(model, **source) and not {"num_labels", "id2label"} & options.keys():
                options = options | {"num_labels": count_classes(rows, palette, reduces_labels(processing_class))}
            model = load_model(model, **options)
        if processing_class is None:
            processing_class = find_image_processor(model, train_dataset, *as_list(eval_dataset))
        super().__init__(model, args, data_collator, train_dataset, eval_dataset, processing_class, **kwargs)
        check_classes(self.model)
        self.ignore_index = ignore_index_of(self.model)
        self.read_rows()
        self.check_masks()
        self.check_best_metric()
        if self.args.encoder_learning_rate is not None:
            freeze_batch_norm(find_encoder(self.model))
            if self.args.encoder_learning_rate == 0:
                find_encoder(self.model).requires_grad_(False)
        self.model_accepts_loss_kwargs = False  # the same for releases of transformers before `loss_is_scaled_for_ga`
        self.add_callback(EpochCallback)
        if self.args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(self.args.early_stopping_patience))

    @classmethod
    def default_args(cls, model: Any) -> SegmentationConfig:
        """The settings where none are given: an output folder named after the model."""
        return cls.config_class(f"{Path(model).name if isinstance(model, str) else 'trainer'}-trained")

    def refuse_without_effect(self, args: SegmentationConfig, model: Any, kwargs: dict[str, Any]) -> None:
        """Raises a ValueError for arguments of the Trainer that this one would ignore."""
        for name in ("compute_metrics", "preprocess_logits_for_metrics"):
            if kwargs.get(name) is not None:
                raise ValueError(
                    f"{name} has no effect: evaluation keeps counts instead of predictions. Score the maps of "
                    "rss_hf.evaluation.predict_maps, or override `evaluation_loop`."
                )
        if args.model_init_kwargs and not isinstance(model, str):
            raise ValueError(
                f"model_init_kwargs={args.model_init_kwargs} has no effect on a model that is given as an object. "
                "Give the model's name, or pass them to load_model."
            )
        if args.encoder_learning_rate is not None and kwargs.get("optimizers", (None, None))[0] is not None:
            raise ValueError(
                f"encoder_learning_rate={args.encoder_learning_rate} has no effect on an optimizer that is given: "
                "leave out one of the two."
            )

    def read_rows(self) -> None:
        """Reads all rows of 🤗 data sets once, for faults, and makes examples of them."""
        settings = {"palette": self.palette, "ignore_index": self.ignore_index, "views": self.needs_views()}
        settings |= {"num_classes": self.model.config.num_labels, "image_processor": self.processing_class}
        of_training = {"seed": self.args.seed, "positions": self.needs_positions(self.args)}
        with self.args.main_process_first(desc="checking the data"):
            self.train_dataset, evaluation = make_examples(
                self.train_dataset, self.evaluation_sets(), settings, of_training
            )
        self.eval_dataset = evaluation if isinstance(self.eval_dataset, dict) else evaluation["validation"]

    def evaluation_sets(self) -> dict[str, Any]:
        """The evaluation data by name; that of one set is `validation`."""
        return self.eval_dataset if isinstance(self.eval_dataset, dict) else {"validation": self.eval_dataset}

    def check_masks(self) -> None:
        """Leaves out training rows without a mask. Raises a ValueError where no row of a data set has one."""
        remedy = "Train by reward, with RSSTrainer or --objective reward"
        require_masks({"training": self.train_dataset} | self.evaluation_sets(), "Cross-entropy needs", remedy)
        self.train_dataset = labelled_examples(self.train_dataset)

    def check_best_metric(self) -> None:
        """Of several evaluation sets the user names one whose metric counts."""
        metric = self.args.metric_for_best_model
        if isinstance(self.eval_dataset, dict) and metric is not None:
            names = list(self.eval_dataset)
            if not any(metric.removeprefix("eval_").startswith(f"{name}_") for name in names):
                raise ValueError(
                    f"metric_for_best_model={metric!r} is of none of the evaluation sets {names}: name one, "
                    f"'{names[0]}_mean_iou' say."
                )

    @staticmethod
    def needs_positions(args: SegmentationConfig) -> bool:
        """Whether training examples are to say where in its image each pixel was."""
        return False

    def needs_views(self) -> bool:
        """Whether examples are to say which part of its image each shows."""
        return False

    def card_rows(self) -> dict[str, str]:
        """What the model card says of how the model was trained, by name."""
        return {"loss": "cross-entropy"}

    def create_optimizer(self, model=None):
        """The Trainer's optimizer, the encoder's parameters in groups with a learning rate of their own."""
        if self.optimizer is not None or not self.args.encoder_learning_rate:
            return super().create_optimizer(model)
        optimizer = super().create_optimizer(model)
        encoder = {id(parameter) for parameter in find_encoder(self.model).parameters()}
        for group in list(optimizer.param_groups):
            parts = [[p for p in group["params"] if (id(p) in encoder) == inside] for inside in (False, True)]
            group["params"] = parts[0]
            optimizer.add_param_group(group | {"params": parts[1], "lr": self.args.encoder_learning_rate})
        return optimizer

    def training_step(self, model, inputs, num_items_in_batch=None):
        if not self.has_checked_batch:
            check_batch(inputs, self.model.config.num_labels, self.ignore_index)
            self.has_checked_batch = True
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs = {name: inputs[name] for name in ("pixel_values", "labels")}
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Scores of one pass over `dataloader`; no predictions are kept. The other arguments are the Trainer's."""
        if not self.accelerator._models:
            self.model_wrapped = self.accelerator.prepare_model(self.model, evaluation_mode=True)
        self.callback_handler.eval_dataloader = dataloader
        return EvalLoopOutput(
            predictions=None,
            label_ids=None,
            metrics={f"{metric_key_prefix}_{name}": value for name, value in self.scores(dataloader).items()},
            num_samples=self.num_examples(dataloader) if has_length(dataloader) else 0,
        )

    def scores(self, dataloader: DataLoader, on_batch: Callable[[dict], None] | None = None) -> dict[str, float]:
        """The scores of a split, by their names without a prefix; `on_batch` is called with each batch."""
        config = self.model.config

        def add(inputs: dict[str, Any]) -> None:
            if on_batch is not None:
                on_batch(inputs)
            self.on_evaluation_batch(inputs)

        confusion = evaluate_model(
            self.model_wrapped,
            dataloader,
            config.num_labels,
            self.accelerator,
            add,
            ignore_index=self.ignore_index,
        )
        return segmentation_scores(confusion, [config.id2label[i] for i in range(config.num_labels)])

    def on_evaluation_batch(self, inputs: dict[str, Any]) -> None:
        """Moves the progress bar."""
        self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)

    def run_settings(self) -> dict[str, Any]:
        """The settings that a resumed run is expected to share with the one it goes on from."""
        names = ("seed", "data_seed", "learning_rate", "encoder_learning_rate", "weight_decay", "optim", "max_steps")
        settings = {name: getattr(self.args, name) for name in names}
        settings["images_a_step"] = self.get_total_train_batch_size(self.args)
        if has_length(self.train_dataset):
            settings["training_images"] = len(self.train_dataset)
        if isinstance(self.train_dataset, SegmentationDataset):
            settings["training_data"] = self.train_dataset.dataset._fingerprint
        return settings

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        """
        Restores the weights by the model's own `from_pretrained`. transformers renames parameters of some models,
        SegFormer among them, between disk and memory; the Trainer reads the names on disk and would leave those
        parameters as they were initialised, with no more than a warning.
        """
        if self.is_fsdp_enabled or self.is_deepspeed_enabled or not isinstance(self.model, PreTrainedModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            self.model.load_state_dict(type(self.model).from_pretrained(resume_from_checkpoint).state_dict())

    def _load_best_model(self) -> None:
        """Restores the best checkpoint's weights, see `_load_from_checkpoint`."""
        if self.is_fsdp_enabled or self.is_deepspeed_enabled or not isinstance(self.model, PreTrainedModel):
            super()._load_best_model()
        else:
            self._load_from_checkpoint(self.state.best_model_checkpoint)
