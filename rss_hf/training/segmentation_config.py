"""Hyper-parameters that segmentation networks need, whatever they learn from."""

from dataclasses import MISSING, dataclass, field, fields

from transformers import TrainingArguments

from .setting_checks import check_finite, check_numbers, parse_json


# Arguments of the Trainer that its own loss or evaluation would read, and this package's does not.
WITHOUT_EFFECT = (
    "label_smoothing_factor",
    "prediction_loss_only",
    "batch_eval_metrics",
    "include_for_metrics",
    "eval_do_concat_batches",
    "eval_accumulation_steps",
    "eval_use_gather_object",
    "label_names",
    "neftune_noise_alpha",
)


@dataclass
class SegmentationConfig(TrainingArguments):
    r"""
    Configuration of [`SegmentationTrainer`]: every argument of [`~transformers.TrainingArguments`] and the following.

    Parameters:
        encoder_learning_rate (`float`, *optional*, defaults to `learning_rate`):
            Learning rate of the encoder: `model.base_model`, or `model.backbone` where a model has no such part. When
            it is given, the encoder is taken for a pretrained one, and the statistics of its batch normalisation stay
            as they are; 0 freezes the encoder.
        model_init_kwargs (`dict`, *optional*):
            For a model given by name: arguments of `from_pretrained`, `{"num_labels": 5}` say.
        early_stopping_patience (`int`, *optional*):
            End training after so many evaluations in a row without a better `metric_for_best_model`.

    Defaults that differ from [`~transformers.TrainingArguments`]: `do_train=True`, `logging_steps=10`,
    `logging_nan_inf_filter=False` (it would wait for the device at every step) and, with `load_best_model_at_end`,
    `metric_for_best_model="mean_iou"` (`"reward"` where the evaluation data has no labels).

    Raises:
        ValueError: if an argument is given that has no effect here, or a value is of the wrong kind, out of range,
            NaN or infinite.
    """

    OWN_DICT_FIELDS = ["model_init_kwargs"]  # of the others some may be the path of a file
    _VALID_DICT_FIELDS = [*TrainingArguments._VALID_DICT_FIELDS, *OWN_DICT_FIELDS]

    do_train: bool = field(default=True, metadata={"help": "Train; false: only evaluate."})
    logging_steps: float = field(default=10, metadata={"help": "Log every so many steps."})
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "Filtering synchronises at every step."})

    encoder_learning_rate: float | None = field(
        default=None, metadata={"help": "Rate of a pretrained encoder, its batch statistics fixed; 0 freezes it."}
    )
    model_init_kwargs: dict | str | None = field(
        default=None, metadata={"help": "Arguments of from_pretrained for a model given by name, as JSON."}
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "End after so many evaluations without a better metric_for_best_model."}
    )

    def __post_init__(self):
        check_numbers(self)
        for name in self._VALID_DICT_FIELDS:
            value = getattr(self, name)
            if isinstance(value, str) and (value.lstrip().startswith("{") or name in self.OWN_DICT_FIELDS):
                setattr(self, name, parse_json(name, value))
                check_finite(name, getattr(self, name))
            elif name in self.OWN_DICT_FIELDS and not isinstance(value, dict | None):
                raise ValueError(f"{name} must be a mapping, got {value!r}.")
        by_metric = str(self.lr_scheduler_type).lower().endswith(("plateau", "greedy"))
        needs_metric = self.load_best_model_at_end or self.save_strategy == "best" or by_metric
        if needs_metric and self.metric_for_best_model is None:
            self.metric_for_best_model = "mean_iou"
        super().__post_init__()
        self.check_early_stopping()
        if self.accelerator_config.dispatch_batches:
            raise ValueError(
                "dispatch_batches=True sends batches from one process to the others, which takes tensors of one size "
                "alone. Leave it out: each process reads its own rows."
            )
        self.accelerator_config.dispatch_batches = False  # None would dispatch streams
        if self.device.type == "cpu":  # torch warns at each epoch that there is nothing to pin for
            self.dataloader_pin_memory = False
        if self.train_sampling_strategy == "group_by_length":
            raise ValueError("train_sampling_strategy='group_by_length' sorts texts by length; use 'random'.")
        for argument in fields(TrainingArguments):
            if argument.name in WITHOUT_EFFECT:
                default = argument.default if argument.default_factory is MISSING else argument.default_factory()
                if getattr(self, argument.name) != default:
                    raise ValueError(
                        f"{argument.name}={getattr(self, argument.name)!r} has no effect on segmentation trainers, "
                        "whose evaluation keeps counts instead of predictions: leave it out."
                    )

    def check_early_stopping(self) -> None:
        """Raises a ValueError where training is to stop by evaluations that there are not, or by no metric of them."""
        if (patience := self.early_stopping_patience) is None:
            return
        if self.eval_strategy == "no":
            raise ValueError(f"early_stopping_patience={patience} counts evaluations: set eval_strategy to steps.")
        if self.metric_for_best_model is None:
            raise ValueError(
                f"early_stopping_patience={patience} needs to know what is to improve: set metric_for_best_model, to "
                "mean_iou or reward say, or load_best_model_at_end to true."
            )
