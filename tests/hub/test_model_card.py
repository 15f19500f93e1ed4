"""The card of a run, held against its whole text."""

import re

import pytest
import torch
from helpers.training import Scenes, train
from huggingface_hub import ModelCard, metadata_load
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from rss_hf import RSSSegformerConfig, RSSSegformerForSemanticSegmentation, SegmentationTrainer
from rss_hf.data import DataSource


SOURCE = DataSource("org/scenes", True, "small", "c0ffee", "train", "validation")
SCORE = r"(?:\d+\.\d\d|-)"
CARD = rf"""---
base_model: org/encoder
datasets:
- org/scenes
library_name: transformers
license: other
metrics:
- mean_iou
pipeline_tag: image-segmentation
tags:
- rss
- reinforcement-learning
- semantic-segmentation
model-index:
- name: scenes-b0
  results:
  - task:
      type: image-segmentation
      name: semantic segmentation
    dataset:
      name: scenes
      type: org/scenes
      config: small
      split: validation
      revision: c0ffee
      args:
        rows: 16
    metrics:
    - type: mean_iou
      value: (?P<miou>0\.\d+)
      name: mean IoU
      args:
        protocol: 'PASCAL VOC: logits upsampled bilinearly (?:[^']|'')+'
---

# scenes-b0

A semantic segmentation network of 3 classes and 0\.\d\d million parameters
 \(`RSSSegformerForSemanticSegmentation`\), trained from rewards with rss_hf\.
 The method: \[Semantic segmentation with reward\]\(https://huggingface\.co/papers/2505\.17905\)\.
 It starts from \[org/encoder\]\(https://huggingface\.co/org/encoder\), whose licence covers it too\.

## How to load it

```python
import rss_hf
from transformers import AutoModelForSemanticSegmentation
model = AutoModelForSemanticSegmentation\.from_pretrained\("org/scenes-b0"\)
```

Without rss_hf, leave out the first line and pass `trust_remote_code=True`: the code is in the repository\.
 `pipeline\("image-segmentation", "org/scenes-b0", trust_remote_code=True\)` works as well\.

## Scores

In percent, on split `validation` of `org/scenes`, 16 images, after 3 steps\. PASCAL VOC: [^\n]+\.

\| class \| IoU \| accuracy \|
\|---\|---:\|---:\|
\| red \| {SCORE} \| {SCORE} \|
\| green \| {SCORE} \| {SCORE} \|
\| blue \| {SCORE} \| {SCORE} \|
\| \*\*mean\*\* \| \*\*(?P<percent>{SCORE})\*\* \| \*\*{SCORE}\*\* \|
\| all pixels \| \| {SCORE} \|

## Training

\| \| \|
\|---\|---\|
\| data set \| `org/scenes`, configuration `small` at revision `c0ffee`, split `train` \|
\| training images \| 16 \|
\| rewarded \| 1 `mean_iou` \+ 0\.5 `pixel_accuracy` \|
\| reward calls \| 96 maps judged \|
\| maps drawn an image \(K\) \| 4 \|
\| strides of the action grid \| 4 \|
\| advantage estimator \| leave_one_out \|
\| confidence_penalty_coef \| 0\.5 \|
\| advantages divided by \| their deviation over the batch \(SyncAN\) \|
\| entropy bonus \| 0\.3 \|
\| steps \| 3 \|
\| images a step \| 8 \|
\| learning rate \| 0\.001, constant \|
\| seed \| 42 \|

!\[Curves of the training run: reward, entropy of the policy, validation score\]\(training_curves\.png\)

## Citation

```bibtex
@misc\{{arxiv:2505\.17905,
  title = \{{Semantic segmentation with reward\}},
  year = \{{2025\}},
  eprint = \{{2505\.17905\}},
  archivePrefix = \{{arXiv\}}
\}}
```
"""


@pytest.fixture
def policy(tiny_config):
    config = RSSSegformerConfig(id2label={0: "red", 1: "green", 2: "blue"}, **tiny_config)
    return RSSSegformerForSemanticSegmentation(config)


def read(folder):
    return (folder / "README.md").read_text()


def section(folder, title):
    """The lines of a section of the card."""
    return read(folder).split(f"## {title}\n\n")[1].split("\n\n## ")[0].splitlines()


def test_the_card_says_what_was_rewarded_and_measured(policy, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 3}
    options |= {"reward_funcs": ["mean_iou", "pixel_accuracy"], "reward_weights": [1.0, 0.5]}
    options |= {"hub_model_id": "org/scenes-b0", "estimator": {"confidence_penalty_coef": 0.5}}
    trainer = train(policy, tmp_path, **options)
    trainer.data_source = SOURCE
    policy.config._name_or_path = "org/encoder"  # only now: the trainer would ask the Hub for its image processor
    trainer.create_model_card()
    found = re.fullmatch(re.sub(r"\n (?! )", " ", CARD), read(tmp_path))  # lines that one space begins go on
    assert found, read(tmp_path)
    measured = trainer.state.log_history[-2]["eval_mean_iou"]
    assert found["miou"] == f"{round(measured, 4)}" and found["percent"] == f"{100 * measured:.2f}"
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.to_dict() == metadata_load(tmp_path / "README.md") and card.content == read(tmp_path)
    [result] = card.data.eval_results
    assert result.metric_value == round(measured, 4) and result.dataset_split == "validation"
    assert (tmp_path / "training_curves.png").stat().st_size > 1000


def test_a_checkpoint_claims_no_score_of_another_step(policy, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 2}
    train(policy, tmp_path, **options)
    for step in (1, 2, 3):
        card = read(tmp_path / f"checkpoint-{step}")
        assert ("Not measured at step 1." in card) == (step == 1)  # the Trainer evaluates at the last step too
        assert f"reward calls | {4 * 8 * step} maps judged" in card
        assert ("mean_iou" in card) == (step != 1)
        assert "model-index" not in card and "datasets:" not in card  # nothing said where the data is from


def test_the_best_checkpoint_has_its_own_score(policy, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    options |= {"load_best_model_at_end": True, "metric_for_best_model": "overall_accuracy"}
    trainer = train(policy, tmp_path, greater_is_better=False, learning_rate=0.1, **options)
    trainer.save_model()
    best = trainer.state.best_global_step
    [scores] = [logs for logs in trainer.state.log_history if logs["step"] == best and "eval_mean_iou" in logs]
    assert f"after {best} steps" in read(tmp_path)
    assert f"| **mean** | **{100 * scores['eval_mean_iou']:.2f}**" in read(tmp_path)


def test_a_model_of_transformers_trained_on_labels(tiny_config, tmp_path):
    plain = SegformerForSemanticSegmentation(SegformerConfig(num_labels=3, **tiny_config))
    trainer = train(plain, tmp_path, trainer_class=SegmentationTrainer)
    trainer.create_model_card(license="mit", tags="scenes")
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.license == "mit" and card.data.tags == ["semantic-segmentation", "scenes"]
    assert card.data.base_model is None and "import rss_hf" not in card.text and "trust_remote_code" not in card.text
    assert "trained on labels (cross-entropy)" in card.text and "| loss | cross-entropy |" in card.text
    assert "Citation" not in card.text and "training_curves" not in card.text
    trainer.create_model_card()
    assert ModelCard.load(tmp_path / "README.md").data.license == "apache-2.0"


def blueness(predictions, references, **columns):
    assert references is None
    return (predictions == 2).float().mean((1, 2))


def test_without_labels_the_card_has_the_rewards_of_the_most_probable_maps(policy, tmp_path):
    trainer = train(
        policy,
        tmp_path,
        Scenes(with_labels=False),
        reward_funcs=[blueness, lambda predictions, **columns: torch.ones(len(predictions))],
        reward_weights=[2.0, 1.0],
        eval_strategy="steps",
        eval_steps=3,
    )
    trainer.data_source = SOURCE
    trainer.create_model_card()
    measured = trainer.state.log_history[-2]
    assert measured["eval_reward"] == pytest.approx(2 * measured["eval_reward/blueness"] + 1)
    assert section(tmp_path, "Scores") == [
        "The mean reward of the most probable map of each image, on split `validation` of `org/scenes`, 16 images, "
        "after 3 steps. There are no labels to score against.",
        "",
        "| reward | value |",
        "|---|---:|",
        f"| blueness | {measured['eval_reward/blueness']:.4f} |",
        "| &lt;lambda&gt; | 1.0000 |",
        f"| **weighted sum** | **{measured['eval_reward']:.4f}** |",
        "",
        "What judged these maps also judged them in training. The numbers say how well maps please a judge, not how "
        "right they are: no mask was compared with them.",
    ]
    assert metadata_load(tmp_path / "README.md").keys().isdisjoint({"metrics", "model-index"})
    trainer.eval_reward_funcs = [blueness]
    trainer.create_model_card()
    assert "Other judges than those of training gave these numbers. The numbers say" in read(tmp_path)


def test_class_names_are_text_whatever_they_contain(tiny_config, tmp_path):
    names = ["<b>a|b</b>", "sea_lion *[x](y)* `c`", "back\\slash & co\n$1"]
    config = RSSSegformerConfig(id2label=dict(enumerate(names)), **tiny_config)
    train(RSSSegformerForSemanticSegmentation(config), tmp_path, eval_strategy="steps", eval_steps=3).save_model()
    rows = [line.rsplit(" | ", 2)[0] for line in section(tmp_path, "Scores")[4:7]]
    assert rows == [
        r"| &lt;b&gt;a\|b&lt;/b&gt;",
        r"| sea\_lion \*\[x\](y)\* \`c\`",
        r"| back\\slash &amp; co \$1",
    ]
