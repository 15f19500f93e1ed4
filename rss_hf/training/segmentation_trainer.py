"""A Trainer for segmentation: evaluation by one confusion matrix at the labels' own size, safe resuming."""

from torch import nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer, TrainerCallback
from transformers.trainer_utils import EvalLoopOutput, has_length

from ..data import DataSource, collate
from ..evaluation.metrics import segmentation_scores
from ..evaluation.predict import evaluate_model
from ..hub.push import HubPushMixin
from ..training.segmentation_config import SegmentationConfig


class EpochCallback(TrainerCallback):
    """Tells the training set the epoch, so that augmentation depends on (seed, epoch, row) alone, also on resume."""

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        if hasattr(train_dataloader.dataset, "set_epoch"):
            train_dataloader.dataset.set_epoch(int(state.epoch))


def find_encoder(model: nn.Module) -> nn.Module:
    """The part of a segmentation model that is pretrained as a rule: its `base_model`, or else its `backbone`."""
    encoder = getattr(model, "base_model", model)
    encoder = getattr(model, "backbone", None) if encoder is model else encoder
    if encoder is None:
        raise ValueError(
            f"encoder_learning_rate is for models that have an encoder, as base_model or backbone; "
            f"{type(model).__name__} has neither. Leave it out, or give the trainer `optimizers` of your own."
        )
    return encoder


def fix_statistics(encoder: nn.Module) -> None:
    """Lets batch normalisation use, and never change, the statistics it has; also after `train()`."""

    def evaluate(module: nn.Module, inputs: tuple):
        module.eval()

    for module in encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(evaluate)


class SegmentationTrainer(HubPushMixin, Trainer):
    """
    [`~transformers.Trainer`] for any model whose output has `logits` (B, C, h, w). By itself it trains on the model's
    own loss (cross-entropy on `labels`); [`RSSTrainer`] trains on rewards.

    `evaluate` follows the protocol of PASCAL VOC: logits upsampled to each label map's original size, one confusion
    matrix over the whole split and all processes, void (255) left out. It returns `eval_mean_iou`,
    `eval_mean_accuracy`, `eval_overall_accuracy` and, for each class, `eval_iou_<name>` and `eval_accuracy_<name>`,
    all in [0, 1]. Its memory does not grow with the split.

    Args:
        data_source ([`~rss_hf.data.DataSource`], *optional*): What the model card says of the data.
        args ([`SegmentationConfig`], *optional*): Its defaults, with `output_dir="trainer_output"`, if it is left out.
        kwargs: as for [`~transformers.Trainer`].
    """

    taught_by = "trained on labels (cross-entropy)"
    _paper: dict[str, str] | None = None
    _tag_names = ["semantic-segmentation"]

    # The loss is a mean over the micro-batch: the Trainer is to divide it by the accumulation steps. Left to guess, it
    # takes SegFormer's **kwargs for a loss that is already divided.
    loss_is_scaled_for_ga = False

    def __init__(
        self, model=None, args=None, data_collator=collate, *, data_source: DataSource | None = None, **kwargs
    ):
        self.data_source = data_source
        args = SegmentationConfig("trainer_output") if args is None else args
        if not isinstance(args, SegmentationConfig):
            raise TypeError(f"args must be a SegmentationConfig or an RSSConfig, got a {type(args).__name__}.")
        super().__init__(model, args, data_collator, **kwargs)
        if self.args.encoder_learning_rate is not None:
            fix_statistics(find_encoder(self.model))
            if self.args.encoder_learning_rate == 0:
                find_encoder(self.model).requires_grad_(False)
        self.model_accepts_loss_kwargs = False  # the same for releases of transformers before `loss_is_scaled_for_ga`
        self.add_callback(EpochCallback)

    def training_facts(self) -> dict[str, str]:
        """What the model card says of how the model was taught, by name."""
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

        def on_step(step: int):
            self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)

        confusion = evaluate_model(
            self.model_wrapped, dataloader, self.model.config.num_labels, self.accelerator, on_step
        )
        id2label = self.model.config.id2label
        scores = segmentation_scores(confusion, [id2label[i] for i in range(len(id2label))])
        return EvalLoopOutput(
            predictions=None,
            label_ids=None,
            metrics={f"{metric_key_prefix}_{name}": value for name, value in scores.items()},
            num_samples=self.num_examples(dataloader) if has_length(dataloader) else 0,
        )

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
