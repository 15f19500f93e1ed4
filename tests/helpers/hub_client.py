"""
What the Hub's clients do in processes of their own: `python hub_client.py FUNCTION ARGUMENT...`, or in a `process`.

The functions import what they need, for `load(..., "without_rss_hf")` runs where rss_hf cannot be imported.
"""

import json
import multiprocessing
import os
import runpy
import shlex
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from unittest import mock
from urllib.request import Request, urlopen


ROOT = Path(__file__).parents[2]
MODEL, PLAIN, DATA, VOC = "org/rss-segformer", "org/plain-segformer", "org/shapes-tiny", "shijli/voc2012"
NAMES = ["background", "circle", "square"]


@contextmanager
def process(environment):
    """A new interpreter with these variables in its environment, as a function that calls functions in it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=use_one_thread) as pool:
        with mock.patch.dict(os.environ, environment | {"OMP_NUM_THREADS": "1"}):
            pool.submit(os.getpid).result()  # starts it
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


def use_one_thread():
    import torch

    torch.set_num_threads(1)


def image():
    import torch

    return torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(0))


def tiny_policy():
    from helpers.models import TINY

    from rss_hf import RSSSegformerConfig, RSSSegformerForSemanticSegmentation

    config = RSSSegformerConfig(id2label=dict(enumerate(NAMES)), initializer_range=0.5, **TINY)
    return RSSSegformerForSemanticSegmentation(config).eval()


def push(out):
    """Pushes a model, the same as plain SegFormer, and a data set; `out` gets the folder and the logits."""
    import torch
    from datasets import DatasetDict
    from transformers import SegformerImageProcessor

    from rss_hf.data import load_shapes
    from rss_hf.hub.export import export_segformer

    out = Path(out)
    policy = tiny_policy()
    policy.push_to_hub(MODEL)
    SegformerImageProcessor(size={"height": 32, "width": 32}).push_to_hub(MODEL)
    torch.save(policy(image()).logits, out / "pushed.pt")
    export_segformer(MODEL, out / "plain")
    script("push_to_hub", "--folder", out / "plain", "--repo_id", PLAIN, "--revision", "v1", "--private")
    splits = DatasetDict(load_shapes(size=32, num_classes=3, num_train=8, num_validation=4))
    splits.push_to_hub(DATA)
    splits.map(lambda row, i: {"id": f"2007_{i:06}"}, with_indices=True).push_to_hub(VOC)


def load(out, where):
    """Loads all of it by every way; `out` gets the logits by way and what else was seen."""
    import torch
    from transformers import (
        AutoConfig,
        AutoImageProcessor,
        AutoModel,
        AutoModelForSemanticSegmentation,
        pipeline,
    )

    trust = {"trust_remote_code": True} if where == "without_rss_hf" else {}
    seen = {}
    if where == "without_rss_hf":
        sys.modules["rss_hf"] = None
        try:
            AutoModel.from_pretrained(MODEL, trust_remote_code=False)
        except ValueError as error:
            seen["refusal"] = str(error)
    else:
        import rss_hf  # noqa: F401
    models = {
        "AutoModel": AutoModel.from_pretrained(MODEL, **trust),
        "AutoModelForSemanticSegmentation": AutoModelForSemanticSegmentation.from_pretrained(MODEL, **trust),
        "plain": AutoModelForSemanticSegmentation.from_pretrained(PLAIN, revision="v1"),
    }
    segment = pipeline("image-segmentation", MODEL, device="cpu", **trust)
    models["pipeline"] = segment.model
    torch.save({name: model.eval()(image()).logits for name, model in models.items()}, Path(out) / f"{where}.pt")
    picture = torch.randint(256, (40, 50, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    segments = segment(to_image(picture))
    processor = AutoImageProcessor.from_pretrained(MODEL, **trust)
    outputs = models["AutoModel"](**processor(to_image(picture), return_tensors="pt"))
    [labels] = processor.post_process_semantic_segmentation(outputs, target_sizes=[(40, 50)])
    seen |= {
        "classes": {name: type(model).__name__ for name, model in models.items()},
        "config": AutoConfig.from_pretrained(MODEL, **trust).model_type,
        "id2label": list(models["AutoModel"].config.id2label.values()),
        "size": [processor.size["height"], processor.size["width"]],
        "segments": {s["label"]: sum(pixel > 0 for pixel in s["mask"].tobytes()) for s in segments},
        "expected": {NAMES[i]: int((labels == i).sum()) for i in labels.unique()},
        "modules": sorted(name for name in sys.modules if name.split(".")[0] == "rss_hf" and sys.modules[name]),
    }
    if where == "with_rss_hf":
        seen["data"] = load_data()
    (Path(out) / f"{where}.json").write_text(json.dumps(seen))


def to_image(pixels):
    from PIL import Image

    return Image.fromarray(pixels.numpy())


def load_data():
    """The data set by its id: stored, and streamed at the same commit. One with an id that is known to be VOC."""
    import numpy as np

    from rss_hf.data import load_segmentation_dataset

    stored = load_segmentation_dataset(DATA, class_names=NAMES)
    commit = stored.source.revision
    streamed = load_segmentation_dataset(DATA, class_names=NAMES, revision=commit, streaming=True)
    voc = load_segmentation_dataset(VOC)
    pairs = list(zip(stored.validation, streamed.validation, strict=True))
    return {
        "columns": stored.train.column_names,
        "rows": [len(stored.train), len(stored.validation)],
        "source": [vars(stored.source), vars(streamed.source)],
        "same_masks": [bool((np.array(a["mask"]) == np.array(b["mask"])).all()) for a, b in pairs],
        "streamed_rows": sum(1 for _ in streamed.train),
        "voc": [voc.train.column_names, voc.class_names, voc.palette, voc.train["id"][1]],
    }


def script(name, *arguments):
    """A script of the project in this process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    sys.argv = [f"{name}.py", *map(str, arguments)]
    runpy.run_path(str(ROOT / "scripts" / f"{name}.py"), run_name="__main__")


def train(out, recipe):
    """A whole training that pushes to the Hub; then the model is scored from there, and loaded as its card says."""
    import re

    os.chdir(out)
    script("train", "--config", recipe)
    source = ["--model", "org/trained", "--model_revision", "tiny", "--dataset_name", DATA, "--class_names", *NAMES]
    script("evaluate_model", *source, "--num_workers", 0, "--output_file", "scores.json")
    exec(re.search(r"```python\n(.*?)```", Path("out/README.md").read_text(), re.DOTALL)[1], loaded := {})
    Path("loaded.txt").write_text(type(loaded["model"]).__name__)


def dry_run(out, recipe):
    """Two steps of a recipe of configs/, small stand-ins under the names of the encoder and the data that it reads."""
    import yaml
    from helpers.models import TINY
    from transformers import SegformerConfig, SegformerForImageClassification, SegformerImageProcessor

    from rss_hf.data import load_shapes

    os.chdir(out)
    names = yaml.safe_load((ROOT / "configs" / recipe).read_text())
    SegformerForImageClassification(SegformerConfig(**TINY)).push_to_hub(names["model_name_or_path"])
    SegformerImageProcessor().push_to_hub(names["model_name_or_path"])
    load_shapes(size=32, num_train=4, num_validation=2).push_to_hub(names["dataset_name"])
    smaller = ["--image_size", 32, 32, "--max_steps", 2, "--per_device_train_batch_size", 2, "--num_samples", 2]
    smaller += ["--bf16", "false", "--dataloader_num_workers", 0, "--use_cpu", "true"]
    script("train", "--config", ROOT / "configs" / recipe, *smaller)


def live(out):
    """A private repository of the token's user on the real Hub: made, pushed to, loaded from, deleted."""
    import torch
    from huggingface_hub import HfApi
    from transformers import AutoModel

    from rss_hf.data import load_segmentation_dataset
    from rss_hf.hub.push import Push

    policy = tiny_policy()
    policy.save_pretrained(out)
    repo_id = f"{HfApi().whoami()['name']}/rss-hf-live-test"
    try:
        Push(str(out), repo_id, private=True).run()
        assert torch.equal(AutoModel.from_pretrained(repo_id).eval()(image()).logits, policy(image()).logits)
    finally:
        HfApi().delete_repo(repo_id, missing_ok=True)
    voc = load_segmentation_dataset("nateraw/pascal-voc-2012", streaming=True)
    assert next(iter(voc.validation))["image"].size[0] > 100


def set_fault(**fields):
    """Puts a `hub_server.Fault` in place."""
    urlopen(Request(f"{os.environ['HF_ENDPOINT']}/fault", json.dumps(fields).encode(), method="POST")).close()


def train_with_faults(out, faults):
    """
    One training a fault, each pushing its model and every checkpoint to org/faulty-INDEX. Then, without a fault, the
    commands that the last one reported. Writes the errors that each logged.
    """
    import logging

    from helpers.training import Scenes

    from rss_hf import RSSConfig, RSSTrainer
    from rss_hf.hub import push
    from rss_hf_cli import main

    os.chdir(out)
    errors = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: errors[-1].append(record.getMessage())
    push.logger.addHandler(handler)
    wait = time.sleep
    for index, fault in enumerate(json.loads(faults)):
        set_fault(**fault)
        args = RSSConfig(
            output_dir=f"faulty-{index}",
            hub_model_id=f"org/faulty-{index}",
            push_to_hub=True,
            hub_strategy="all_checkpoints",
            max_steps=2,
            save_steps=1,
            per_device_train_batch_size=2,
            num_samples=2,
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = RSSTrainer(model=tiny_policy(), args=args, train_dataset=Scenes(4))
        with mock.patch("time.sleep", lambda seconds: wait(min(seconds, 0.01))):  # all attempts, without the waits
            errors.append([])
            trainer.train()
            errors.append([])
            trainer.push_to_hub()
    Path("errors.json").write_text(json.dumps(errors))
    set_fault(kind="none")
    for error in errors[-1]:
        program, *arguments = shlex.split(error.splitlines()[-1])
        assert program == "rss-hf"
        main(arguments)


if __name__ == "__main__":
    sys.path[:1] = [str(ROOT), str(ROOT / "tests")]
    use_one_thread()
    globals()[sys.argv[1]](*sys.argv[2:])
