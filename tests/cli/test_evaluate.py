import json
import math

import datasets
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

from rss_hf.cli import evaluate
from rss_hf.evaluation import confusion_matrix, predict_maps, segmentation_scores


NAMES = ["sky", "car", "road", "boat"]
SIZES = [(12, 16), (9, 20), (30, 7), (12, 16), (5, 5)]  # an odd number of images, of their own sizes


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command on the CPU also where there is a GPU, whose convolutions round differently."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    AcceleratorState._reset_state(reset_partial_state=True)
    Accelerator(cpu=True)
    yield lambda *arguments: evaluate.main([*map(str, arguments), "--batch_size", "2", "--num_workers", "0"])
    AcceleratorState._reset_state(reset_partial_state=True)


def save_model(folder, names=None, **config):
    torch.manual_seed(0)
    sizes = {"depths": [1] * 4, "hidden_sizes": [8] * 4, "num_attention_heads": [1] * 4, "decoder_hidden_size": 8}
    labels = {"num_labels": 4} if names is None else {"id2label": dict(enumerate(names))}
    model = SegformerForSemanticSegmentation(SegformerConfig(**sizes, **labels, **config)).eval()
    model.save_pretrained(folder)
    SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return model


def save_dataset(folder, splits=("train", "validation")):
    """A data set folder of the Hub's form, 5 images of their own sizes, class 3 in none of the masks."""
    rng = np.random.default_rng(0)
    rows = {"image": [], "mask": []}
    for size in SIZES:
        rows["image"].append(Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)))
        rows["mask"].append(Image.fromarray(rng.choice([0, 1, 2, 255], size).astype(np.uint8)))
    features = datasets.Features(image=datasets.Image(), mask=datasets.Image())
    for split in splits:
        datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "data" / f"{split}-0.parquet")
    return rows


def expected_scores(model, rows, names, flip=False):
    confusion = torch.zeros(len(names), len(names), dtype=torch.int64)
    processor = SegformerImageProcessor(size={"height": 64, "width": 64})
    for image, mask in zip(rows["image"], rows["mask"], strict=True):
        label = torch.from_numpy(np.array(mask))
        pixel_values = processor(images=image, return_tensors="pt")["pixel_values"]
        maps = predict_maps(model, pixel_values, [label.shape], flip=flip)
        confusion += confusion_matrix(maps[0], label, len(names))
    return segmentation_scores(confusion, names)


@pytest.mark.parametrize("arguments", [[], ["--flip", "--streaming"]])
def test_it_scores_a_split(run, tmp_path, capsys, arguments):
    rows, model = save_dataset(tmp_path / "set"), save_model(tmp_path / "model")
    options = [*arguments, "--model", tmp_path / "model", "--dataset_name", tmp_path / "set"]
    run(*options, "--class_names", *NAMES, "--output_file", tmp_path / "out" / "scores.json")
    expected = expected_scores(model, rows, NAMES, flip="--flip" in arguments)
    written = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert written["scores"] == {name: None if math.isnan(score) else score for name, score in expected.items()}
    assert written["scores"]["accuracy_boat"] is None
    assert written["arguments"]["dataset_name"] == str(tmp_path / "set")
    table = {line.rsplit(maxsplit=2)[0]: line for line in capsys.readouterr().out.splitlines()}
    for row, name in (("car", "iou_car"), ("mean", "mean_iou")):
        assert f" {100 * expected[name]:.2f} " in table[row]


def test_class_names_are_the_models(run, tmp_path):
    """And the only split there is, is enough. Void pixels are not counted by whatever label the model knows them."""
    rows, model = save_dataset(tmp_path / "set", ["test"]), save_model(tmp_path / "model", NAMES)
    save_model(tmp_path / "other", NAMES, semantic_loss_ignore_index=-100)
    expected = expected_scores(model, rows, NAMES)
    for folder in ("model", "other"):
        options = ["--model", tmp_path / folder, "--dataset_name", tmp_path / "set"]
        options += ["--eval_split", "test"] if folder == "other" else []
        run(*options, "--output_file", tmp_path / "scores.json")
        written = json.loads((tmp_path / "scores.json").read_text())["scores"]
        assert written == {name: None if math.isnan(score) else score for name, score in expected.items()}


def test_other_classes_are_refused(run, tmp_path):
    save_dataset(tmp_path / "set")
    save_model(tmp_path / "model", NAMES)
    options = ["--model", tmp_path / "model", "--dataset_name", tmp_path / "set"]
    with pytest.raises(SystemExit, match="predicts 4 classes but .*set has 3"):
        run(*options, "--class_names", "a", "b", "c")
    with pytest.raises(
        SystemExit, match="Class 1 is 'car' for .*model and 'road' in .*set.*--class_names sky car road"
    ):
        run(*options, "--class_names", "sky", "road", "car", "boat")
    (tmp_path / "set" / "id2label.json").write_text(json.dumps(dict(enumerate(["sky", "car", "boat", "road"]))))
    with pytest.raises(SystemExit, match="Class 2 is 'road' for .*model and 'boat' in .*set"):
        run(*options)
    run(*options, "--class_names", *NAMES)  # they are the user's to name
    with pytest.raises(SystemExit, match="predicts 4 classes but shapes has 5"):
        run("--model", tmp_path / "model", "--dataset_name", "shapes")
