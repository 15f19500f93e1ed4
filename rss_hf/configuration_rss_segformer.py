"""Configuration of SegFormer as a pixel policy. This file travels to the Hub with every checkpoint."""

from transformers import SegformerConfig


class RSSSegformerConfig(SegformerConfig):
    """
    Configuration of [`RSSSegformerForSemanticSegmentation`]: the fields of [`~transformers.SegformerConfig`] under a
    model type of its own, so that the Auto classes resolve to the policy and not to the bare encoder.

    `id2label` names the classes, which are the actions of the policy; `semantic_loss_ignore_index` (255) is the void
    label of the cross-entropy baseline.

    Example:

    ```python
    >>> from rss_hf import RSSSegformerConfig, RSSSegformerForSemanticSegmentation

    >>> config = RSSSegformerConfig(id2label={0: "background", 1: "cat", 2: "dog"})
    >>> policy = RSSSegformerForSemanticSegmentation(config)
    ```
    """

    model_type = "rss_segformer"

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        """Read a configuration; one of plain SegFormer (`nvidia/mit-b*` among them) is taken as this type's own."""
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if config_dict.get("model_type") == SegformerConfig.model_type:
            config_dict["model_type"] = cls.model_type
        return config_dict, kwargs


__all__ = ["RSSSegformerConfig"]
