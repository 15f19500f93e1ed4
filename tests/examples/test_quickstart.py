"""The quickstart notebook runs in an empty folder, but for fewer steps, and its command line gives the same model."""

import json
import re
import shlex
import sys
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from helpers.commands import run
from nbclient import NotebookClient
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from rss_hf.cli import predict, train
from rss_hf.data import load_segmentation_dataset


NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"
CLASSES = ["background", "circle", "square"]
STEPS, CELLS = 20, 10


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def fewer_steps(text: str, equals: str) -> str:
    """The same text with few steps; `equals` stands between a name and its value."""
    for name, old, new in (("max_steps", 300, STEPS), ("eval_steps", 50, STEPS // 2)):
        assert text.count(f"{name}{equals}{old}") == 1, name
        text = text.replace(f"{name}{equals}{old}", f"{name}{equals}{new}")
    return text


def execute(notebook, folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # sums in another order would draw other maps than the command line
    [trainer] = [cell for cell in code_cells(notebook) if "max_steps" in cell.source]
    trainer.source = fewer_steps(trainer.source, "=")
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()


def printed(cell) -> str:
    return "".join(output.text for output in cell.outputs if output.get("name") == "stdout")


def picture(cell) -> Image.Image:
    [data] = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    return Image.open(BytesIO(b64decode(data)))


def commands(notebook) -> dict[str, list[str]]:
    """The words behind `rss-hf train` and `rss-hf predict` in the last cell."""
    [block] = re.findall(r"```bash\n(.*?)```", notebook.cells[-1].source, flags=re.DOTALL)
    words = [shlex.split(line) for line in fewer_steps(block.replace("\\\n", ""), " ").splitlines()]
    assert [line[0] for line in words] == ["rss-hf"] * 2
    return {line[1]: line[2:] for line in words}


def intersection_over_union(folder: Path) -> dict[str, float]:
    """Of each class over the held-out pairs, by the model in a folder, pixel by pixel."""
    model = AutoModelForSemanticSegmentation.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    rows = load_segmentation_dataset("images,masks", class_names=CLASSES).validation
    references = np.stack([np.asarray(row["mask"]) for row in rows])
    with torch.no_grad():
        outputs = model(**processor(images=[row["image"] for row in rows], return_tensors="pt"))
    sizes = [reference.shape for reference in references]
    maps = np.stack(processor.post_process_semantic_segmentation(outputs, target_sizes=sizes))
    maps[references == 255] = 255
    hits, unions = (
        [both(maps == i, references == i).sum() for i in range(3)] for both in (np.logical_and, np.logical_or)
    )
    return {name: hit / union for name, hit, union in zip(CLASSES, hits, unions, strict=True)}


def test_is_short_and_holds_no_outputs(notebook):
    cells = code_cells(notebook)
    assert len(cells) == CELLS
    assert [cell for cell in cells if cell.outputs or cell.execution_count is not None] == []


def test_runs_and_the_command_line_gives_the_same(notebook, tmp_path, monkeypatch):
    execute(notebook, tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    drawn, pair, loaded, judge, _, trained, curves, scored, predicted, saved = code_cells(notebook)

    assert [len(list(Path(folder).glob("*.png"))) for folder in ("images", "masks")] == [200, 200]
    assert "class ids: [  0   1   2 255]" in printed(pair)
    assert printed(loaded) == "180 pairs to train on, 20 to evaluate on\n"
    assert printed(judge) == "perfect map: 1.0\nnothing but background: 0.5\n"
    images = STEPS * 16 - 12  # the last batch of the epoch of 180 has 4 of them
    assert printed(trained) == f"{images * 4:,} maps were judged.\n"
    assert "{0: 'background', 1: 'circle', 2: 'square'}" in printed(saved)
    assert picture(pair).size == picture(predicted).size == (256, 256)
    assert picture(curves).size[0] == 840

    state = json.loads(Path(f"outputs/quickstart/checkpoint-{STEPS}/trainer_state.json").read_text())
    rewards = [log["reward"] for log in state["log_history"] if "reward" in log]
    assert len(rewards) == STEPS // 10 and all(0 < reward < 1 for reward in rewards)

    scores = {name: float(score) for name, score in map(str.split, printed(scored).splitlines())}
    expected = intersection_over_union(Path("outputs/quickstart"))
    assert scores.pop("mean_iou") == pytest.approx(sum(expected.values()) / 3, abs=0.006)
    assert scores == pytest.approx({f"iou_{name}": value for name, value in expected.items()}, abs=0.006)

    command = commands(notebook)
    Path("judge.py").write_text(judge.source.split("\n\n\nreference = ")[0])
    monkeypatch.setattr(sys, "path", sys.path.copy())
    try:
        run(train.main, *command["train"])
    finally:
        sys.modules.pop("judge", None)
    weights = [load_file(f"outputs/{name}/model.safetensors") for name in ("quickstart", "command_line")]
    torch.testing.assert_close(*weights)

    run(predict.main, *command["predict"])
    overlay = Image.open("predictions/new_overlay.png").resize((256, 256))
    assert np.array_equal(overlay, picture(predicted).convert("RGB"))
