"""What benchmarks/methods.yaml asks for: data, methods, the rows of each table, and a row's whole configuration."""

from pathlib import Path

import yaml
from record import ROOT

from rss_hf.recipes import recipe


PLAN = yaml.safe_load((Path(__file__).parent / "methods.yaml").read_text())
DATA, METHODS, SUITES = PLAN["data"], PLAN["methods"], PLAN["suites"]
PLACES = {"camvid": "--camvid FOLDER_OR_ID", "voc": "--voc FOLDER_OR_ID"}
ENCODER = "UperNet on tf_efficientnet_lite0"
TRAINED = "cross-entropy on "  # and the name of the data
WEAK = "shapes with tags and areas, without training masks"


def source_of(data: str) -> str:
    """`shapes-short` is a form of `shapes`."""
    return data.partition("-")[0]


def configuration(row: dict, seed: int = 0) -> dict:
    """
    Every option of a row's training but the places of this machine, and `rival`, where its loss is one of rivals.py.
    Later ones count: the defaults of `RSSConfig`, the YAML file of the data, the data's own options, the method's
    recipe, the method's options, the row's rate.

    Args:
        row (`dict`): `data`, `method` and, where it is not the one that follows from these, `learning_rate`.
        seed (`int`, *optional*, defaults to 0).
    """
    data, method = DATA[row["data"]], dict(METHODS.get(row["method"], {}))
    options = recipe("default") | yaml.safe_load((ROOT / "configs" / f"{data['config']}.yaml").read_text())
    options |= data.get("options", {})
    options |= recipe(method.pop("recipe")) if "recipe" in method else {}
    options |= method | {"seed": seed}
    if "learning_rate" in row:
        options["learning_rate"] = row["learning_rate"]
    if source_of(row["data"]) in PLACES:
        options["dataset_name"] = source_of(row["data"])
    if data.get("model") == "upernet":
        options["model_name_or_path"] = ENCODER
    if "start" in data:
        options["model_name_or_path"] = TRAINED + data["start"]
    del options["output_dir"]
    return options
