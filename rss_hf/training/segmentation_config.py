"""Hyper-parameters that segmentation networks need, whatever they learn from."""

from dataclasses import dataclass, field

from transformers import TrainingArguments


@dataclass
class SegmentationConfig(TrainingArguments):
    r"""
    Configuration of [`SegmentationTrainer`]: every argument of [`~transformers.TrainingArguments`] and the following.

    Parameters:
        encoder_learning_rate (`float`, *optional*, defaults to `learning_rate`):
            Learning rate of the encoder: `model.base_model`, or `model.backbone` where a model has no such part. When
            it is given, the encoder is taken for a pretrained one, and the statistics of its batch normalisation stay
            as they are; 0 freezes the encoder.
    """

    encoder_learning_rate: float | None = field(
        default=None, metadata={"help": "Rate of a pretrained encoder, its batch statistics fixed; 0 freezes it."}
    )

    def __post_init__(self):
        super().__post_init__()
        if self.encoder_learning_rate is not None and self.encoder_learning_rate < 0:
            raise ValueError(f"encoder_learning_rate must be at least 0, got {self.encoder_learning_rate}.")
