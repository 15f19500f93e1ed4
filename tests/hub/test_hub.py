"""The Hub's real clients, in processes of their own, against a Hub on 127.0.0.1: push, load, fail, recover."""

import ast
import json
import re
from pathlib import Path

import pytest
import torch
from helpers import hub_client
from helpers.hub_client import DATA, MODEL, NAMES, PLAIN, ROOT
from helpers.hub_server import Hub
from huggingface_hub import ModelCard

from rss_hf.data import VOC_CLASS_NAMES, voc_palette


CODE = ["configuration_rss_segformer.py", "modeling_rss_segformer.py"]
NEEDED_TO_LOAD = ["README.md", "config.json", *CODE, "model.safetensors", "preprocessor_config.json"]


@pytest.fixture(scope="module")
def hub():
    with Hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def pushed(hub, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    with hub_client.process(hub.environment(tmp_path_factory.mktemp("cache"))) as call:
        call(hub_client.push, out)
    return out


@pytest.fixture(scope="module")
def client(hub, tmp_path_factory):
    """A function that calls those of `hub_client` in a process that has pushed nothing, with a cache of its own."""
    with hub_client.process(hub.environment(tmp_path_factory.mktemp("cache"))) as call:
        yield call


def files(hub, repo, branch="main"):
    return hub.repos[f"models/{repo}"].files(branch)


def test_a_push_carries_all_that_loading_needs(hub, pushed):
    assert set(NEEDED_TO_LOAD) <= set(files(hub, MODEL))
    assert hub.repos[f"models/{PLAIN}"].private and not hub.repos[f"models/{MODEL}"].private
    plain = {path.name: path.read_bytes() for path in (pushed / "plain").iterdir()}
    assert files(hub, PLAIN, "v1") == {".gitattributes": b""} | plain
    assert files(hub, PLAIN) == {".gitattributes": b""}


def test_the_code_that_travels_imports_nothing_of_rss_hf_but_itself():
    for name in CODE:
        for node in ast.walk(ast.parse((ROOT / "rss_hf" / name).read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0 or f"{node.module}.py" in CODE, ast.unparse(node)
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "rss_hf" not in ast.unparse(node), ast.unparse(node)


@pytest.mark.parametrize("where", ["with_rss_hf", "without_rss_hf"])
def test_every_way_of_loading_gives_the_pushed_logits(hub, client, pushed, where, tmp_path):
    if where == "with_rss_hf":
        client(hub_client.load, pushed, where)
    else:
        with hub_client.process(hub.environment(tmp_path)) as call:
            call(hub_client.load, pushed, where)
    expected = torch.load(pushed / "pushed.pt")
    logits = torch.load(pushed / f"{where}.pt")
    assert sorted(logits) == ["AutoModel", "AutoModelForSemanticSegmentation", "pipeline", "plain"]
    for way, loaded in logits.items():
        assert torch.equal(loaded, expected), way
    seen = json.loads((pushed / f"{where}.json").read_text())
    ours = "RSSSegformerForSemanticSegmentation"
    assert seen["classes"] == dict.fromkeys(logits, ours) | {"plain": "SegformerForSemanticSegmentation"}
    assert seen["config"] == "rss_segformer" and seen["id2label"] == NAMES and seen["size"] == [32, 32]
    assert seen["segments"] == seen["expected"] and sum(seen["segments"].values()) == 40 * 50
    if where == "without_rss_hf":
        assert seen["modules"] == [] and "trust_remote_code=True" in seen["refusal"]
    else:
        data = seen["data"]
        assert data["columns"] == ["image", "mask"] and data["rows"] == [8, 4]
        assert data["same_masks"] == [True] * 4 and data["streamed_rows"] == 8
        columns, class_names, palette, row_id = data["voc"]
        assert sorted(columns) == ["id", "image", "mask"] and row_id == "2007_000001"
        assert class_names == VOC_CLASS_NAMES and palette == [list(colour) for colour in voc_palette(21)]
        stored, streamed = data["source"]
        assert stored == streamed and stored["name"] == DATA and stored["on_hub"]
        assert re.fullmatch("[0-9a-f]{40}", stored["revision"])


def test_a_training_from_the_hub_to_the_hub(hub, client, pushed, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"""
dataset_name: {DATA}
class_names: [{", ".join(NAMES)}]
model_name_or_path: {MODEL}
image_size: [32, 32]
do_train: true
output_dir: out
max_steps: 4
save_steps: 2
eval_strategy: steps
eval_steps: 2
logging_steps: 1
per_device_train_batch_size: 4
num_samples: 4
reward_funcs: [running_log_iou]
advantage_estimator: score_posterior
scale_rewards: none
use_cpu: true
push_to_hub: true
hub_model_id: org/trained
hub_strategy: checkpoint
hub_revision: tiny
"""
    )
    client(hub_client.train, tmp_path, recipe)
    there = files(hub, "org/trained", "tiny")
    out = tmp_path / "out"
    local = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    del local["training_args.bin"]
    assert {name: content for name, content in there.items() if "/" not in name} == {".gitattributes": b""} | local
    assert {*NEEDED_TO_LOAD, "training_curves.png", "comparison.png"} <= set(local)
    last = {path.name: path.read_bytes() for path in (out / "checkpoint-4").iterdir()}
    only_to_resume = {"optimizer.pt", "estimator_state.safetensors", "reward_state.safetensors", "trainer_state.json"}
    assert only_to_resume | {*NEEDED_TO_LOAD} <= set(last)
    assert {path: content for path, content in there.items() if path.startswith("last-checkpoint/")} == {
        f"last-checkpoint/{name}": content for name, content in last.items() if name != "training_args.bin"
    }
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]
    results = json.loads((out / "all_results.json").read_text())
    assert scores["mean_iou"] == results["eval_mean_iou"]
    assert (tmp_path / "loaded.txt").read_text() == "RSSSegformerForSemanticSegmentation"
    card = ModelCard.load(out / "README.md").data
    [result] = card.eval_results
    assert (card.base_model, card.datasets) == (MODEL, [DATA])
    assert (result.dataset_type, result.dataset_split, result.dataset_args) == (DATA, "validation", {"rows": 4})
    assert result.dataset_revision == hub.repos[f"datasets/{DATA}"].branches["main"]
    assert result.metric_value == round(results["eval_mean_iou"], 4)


@pytest.mark.parametrize("recipe", ["voc_image_level.yaml", "voc_pixel_level.yaml"])
def test_a_recipe_for_the_real_hub_runs_dry(client, tmp_path, recipe):
    client(hub_client.dry_run, tmp_path, recipe)
    out = tmp_path / "outputs" / recipe.removesuffix(".yaml")
    assert 0 <= json.loads((out / "all_results.json").read_text())["eval_mean_iou"] <= 1
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    assert history[-1]["step"] == 2
    assert json.loads((out / "config.json").read_text())["id2label"]["20"] == "tvmonitor"


FAULTS = [
    {"kind": "drop", "at": 0},  # no repository can be made as training begins
    {"kind": "status", "status": 401, "at": 0, "times": 4},
    {"kind": "status", "status": 409, "at": 3},
    {"kind": "drop", "at": 5, "times": 2},  # in the middle of the weights
    {"kind": "status", "status": 412, "at": 7},
    {"kind": "status", "status": 500, "at": 8},
    {"kind": "cut", "at": 7},
    {"kind": "delay", "seconds": 0.3, "at": 2, "times": 3},
    {"kind": "drop", "at": 1, "times": 10**6},  # the server goes down and stays down
]


def test_no_fault_of_the_hub_stops_training_or_damages_a_checkpoint(hub, client, tmp_path):
    client(hub_client.train_with_faults, tmp_path, json.dumps(FAULTS))
    errors = json.loads((tmp_path / "errors.json").read_text())
    for index in range(len(FAULTS)):
        out = tmp_path / f"faulty-{index}"
        there = files(hub, f"org/faulty-{index}")
        for folder in (out, out / "checkpoint-1", out / "checkpoint-2"):
            prefix = "" if folder == out else f"{folder.name}/"
            for path in folder.iterdir():
                if path.is_file() and path.name != "training_args.bin":
                    assert there[prefix + path.name] == path.read_bytes(), f"{FAULTS[index]}: {path}"
    *survived, after_training, at_the_end = errors
    assert survived == [[]] * (2 * len(FAULTS) - 2)
    assert len(after_training) == len(at_the_end) == 3
    folders = ["faulty-8/checkpoint-1", "faulty-8/checkpoint-2", "faulty-8"]
    commands = [
        f"rss-hf push --folder {folder} --repo_id org/faulty-8"
        + (f" --path_in_repo {Path(folder).name}" if "/" in folder else "")
        for folder in folders
    ]
    assert sorted(message.splitlines()[-1].strip() for message in at_the_end) == sorted(commands)


@pytest.mark.hub_live
def test_the_real_hub(tmp_path):
    with hub_client.process({}) as call:
        call(hub_client.live, tmp_path)
