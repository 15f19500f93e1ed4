import logging

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSemanticSegmentation,
    SegformerForImageClassification,
    SegformerForSemanticSegmentation,
)
from transformers.utils import logging as transformers_logging

from rss_hf import RSSSegformerConfig, RSSSegformerForSemanticSegmentation


IMAGE = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def policy(tiny_config):
    torch.manual_seed(0)
    return RSSSegformerForSemanticSegmentation(RSSSegformerConfig(num_labels=3, **tiny_config)).eval()


def test_encoder_checkpoints_load_and_one_line_says_that_the_head_is_new(plain_config, tmp_path, caplog):
    encoder = SegformerForImageClassification(plain_config)
    encoder.save_pretrained(tmp_path)
    transformers_logging.enable_propagation()
    with caplog.at_level(logging.WARNING):
        policy = RSSSegformerForSemanticSegmentation.from_pretrained(tmp_path)
    transformers_logging.disable_propagation()
    assert [record.message for record in caplog.records] == [
        "The checkpoint has an encoder only: the policy head (decode_head) is initialised afresh."
    ]
    for (name, ours), theirs in zip(policy.segformer.named_parameters(), encoder.segformer.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    assert (policy.decode_head.batch_norm.running_var == 1).all()
    assert policy(IMAGE).logits.isfinite().all()


def test_plain_segformer_checkpoints_give_the_same_logits(plain_config, tmp_path, caplog):
    torch.manual_seed(0)
    plain = SegformerForSemanticSegmentation(plain_config).eval()
    plain.save_pretrained(tmp_path)
    transformers_logging.enable_propagation()
    with caplog.at_level(logging.WARNING):
        policy = RSSSegformerForSemanticSegmentation.from_pretrained(tmp_path).eval()
    transformers_logging.disable_propagation()
    assert not caplog.records
    assert torch.equal(policy(IMAGE).logits, plain(IMAGE).logits)


def test_own_checkpoints_load_through_the_auto_classes(policy, tmp_path):
    policy.save_pretrained(tmp_path)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), RSSSegformerConfig)
    for auto_class in (RSSSegformerForSemanticSegmentation, AutoModel, AutoModelForSemanticSegmentation):
        loaded = auto_class.from_pretrained(tmp_path).eval()
        assert type(loaded) is RSSSegformerForSemanticSegmentation
        assert torch.equal(loaded(IMAGE).logits, policy(IMAGE).logits)


def test_labels_give_the_cross_entropy_of_upsampled_logits(policy):
    labels = torch.randint(3, (2, 64, 96))
    labels[:, :8] = 255
    output = policy(IMAGE, labels=labels)
    assert output.logits.shape == (2, 3, 16, 24)
    upsampled = torch.nn.functional.interpolate(output.logits, size=(64, 96), mode="bilinear", align_corners=False)
    expected = torch.nn.functional.cross_entropy(upsampled, labels, ignore_index=255)
    torch.testing.assert_close(output.loss, expected)


def test_gradient_checkpointing_changes_no_gradient(policy):
    policy.train()
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            policy.gradient_checkpointing_enable()
        policy.zero_grad()
        policy(IMAGE).logits.square().mean().backward()
        gradients.append([p.grad.clone() for p in policy.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_capabilities_are_inherited(policy):
    assert set(policy._no_split_modules) == {"SegformerStage"} and policy._supports_sdpa
