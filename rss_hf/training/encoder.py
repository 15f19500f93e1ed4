"""The encoder of a segmentation model: which part it is, and its batch normalisation left as it was pretrained."""

from torch import nn


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


def freeze_batch_norm(encoder: nn.Module) -> None:
    """Lets batch normalisation use, and never change, the statistics it has; also after `train()`."""

    def evaluate(module: nn.Module, inputs: tuple):
        module.eval()

    for module in encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(evaluate)
