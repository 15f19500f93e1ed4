"""The model card: what was trained on what, by which reward, and what was measured, with nothing that was not."""

import math
import os
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import Trainer
from transformers.trainer_utils import has_length

from ..data import DataSource
from ..reporting.figures import training_curves


CURVES = "training_curves.png"
PROTOCOL = (
    "PASCAL VOC: logits upsampled bilinearly to each label map's original size, one confusion matrix over the split, "
    "void (255) left out, mean over the classes that occur in references or predictions"
)


def write_model_card(
    trainer: Trainer,
    folder: str | os.PathLike,
    *,
    model_name: str | None = None,
    license: str | None = None,
    tags: str | list[str] | None = None,
) -> None:
    """
    Writes `README.md` and, where rewards or scores were logged, the picture `training_curves.png` it shows.

    Args:
        trainer ([`SegmentationTrainer`]): whose model is described, at its present step.
        folder (`str` or `PathLike`): the folder of the saved model; made if it is not there.
        model_name (`str`, *optional*, defaults to the last part of the Hub id or of the output folder).
        license (`str`, *optional*, defaults to `"apache-2.0"` for a model from scratch, else to `"other"`):
            the Hub's identifier of a licence.
        tags (`str` or `list[str]`, *optional*): tags beside those of the method.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    has_curves = any(logs.keys() & {"reward", "entropy", "eval_mean_iou"} for logs in trainer.state.log_history)
    if has_curves:
        training_curves(trainer.state.log_history, folder / CURVES)
    repo_id = trainer.hub_model_id or trainer.args.hub_model_id or Path(trainer.args.output_dir).absolute().name
    name = model_name or repo_id.split("/")[-1]
    scores = measured_scores(trainer)
    data = card_data(trainer, name, scores, license, [tags] if isinstance(tags, str) else tags or [])
    sections = [
        f"# {name}",
        introduction(trainer, data.base_model),
        f"## How to load it\n\n{loading_snippet(trainer, repo_id)}",
        f"## Scores\n\n{score_section(trainer, scores)}",
        f"## Training\n\n{training_section(trainer)}",
    ]
    if has_curves:
        sections.append(f"![Curves of the training run: reward, entropy of the policy, validation score]({CURVES})")
    if trainer._paper is not None:
        sections.append(f"## Citation\n\n{citation(trainer._paper)}")
    body = "\n\n".join(sections)
    ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n").save(folder / "README.md")


def measured_scores(trainer: Trainer) -> dict[str, float] | None:
    """
    The scores in [0, 1] of exactly the weights the model has now, by their names without `eval_`, and the `step` the
    weights are of; None where none were taken.
    """
    state, step = trainer.state, trainer.state.global_step
    if trainer.args.load_best_model_at_end and state.best_global_step and not trainer.is_in_train:
        step = state.best_global_step
    for logs in reversed(state.log_history):
        if logs["step"] == step and "eval_mean_iou" in logs:
            scores = {key.removeprefix("eval_"): value for key, value in logs.items() if key.startswith("eval_")}
            return scores | {"step": step}
    return None


def card_data(trainer: Trainer, name: str, scores, license: str | None, tags: list[str]) -> ModelCardData:
    """The front matter of the card. Its model-index has `scores["mean_iou"]`, where it was measured and of what."""
    source: DataSource | None = trainer.data_source
    base_model = base_model_id(trainer.model.config.name_or_path)
    results = None
    if scores is not None and source is not None:
        results = [
            EvalResult(
                task_type="image-segmentation",
                task_name="semantic segmentation",
                dataset_type=source.name,
                dataset_name=source.name.split("/")[-1],
                dataset_config=source.config,
                dataset_split=source.eval_split,
                dataset_revision=source.revision,
                dataset_args={"rows": len(trainer.eval_dataset)} if has_length(trainer.eval_dataset) else None,
                metric_type="mean_iou",
                metric_name="mean IoU",
                metric_value=round(scores["mean_iou"], 4),
                metric_args={"protocol": PROTOCOL},
            )
        ]
    return ModelCardData(
        license=license or ("apache-2.0" if base_model is None else "other"),
        base_model=base_model,
        datasets=[source.name] if source is not None and source.on_hub else None,
        metrics=["mean_iou"],
        pipeline_tag="image-segmentation",
        library_name="transformers",
        tags=[*trainer._tag_names, *tags],
        model_name=name if results is not None else None,
        eval_results=results,
    )


def base_model_id(name_or_path: str) -> str | None:
    """The Hub id that a model was loaded from; None for a local folder or a model from scratch."""
    is_id = name_or_path.count("/") == 1 and not name_or_path.startswith(("/", ".", "~"))
    return name_or_path if is_id and not Path(name_or_path).exists() else None


def introduction(trainer: Trainer, base_model: str | None) -> str:
    """What the model is, in a sentence or two."""
    config = trainer.model.config
    millions = trainer.model.num_parameters() / 1e6
    text = (
        f"A semantic segmentation network of {config.num_labels} classes and {millions:.2f} million parameters "
        f"(`{type(trainer.model).__name__}`), {trainer.training_signal} with rss_hf."
    )
    if trainer._paper is not None:
        text += f" The method: [{trainer._paper['title']}](https://huggingface.co/papers/{trainer._paper['id']})."
    if base_model is not None:
        text += f" It starts from [{base_model}](https://huggingface.co/{base_model}), whose licence covers it too."
    return text


def loading_snippet(trainer: Trainer, repo_id: str) -> str:
    """Three lines of Python that load the model, and what to write where rss_hf is not installed."""
    revision = trainer.args.hub_revision
    source = f'"{repo_id}"' if revision is None else f'"{repo_id}", revision="{revision}"'
    snippet = (
        "from transformers import AutoModelForSemanticSegmentation\n"
        f"model = AutoModelForSemanticSegmentation.from_pretrained({source})"
    )
    if type(trainer.model).__module__.startswith("transformers."):
        return f"```python\n{snippet}\n```"
    return (
        f"```python\nimport rss_hf\n{snippet}\n```\n\n"
        "Without rss_hf, leave out the first line and pass `trust_remote_code=True`: the code is in the repository. "
        f'`pipeline("image-segmentation", {source}, trust_remote_code=True)` works as well.'
    )


def score_section(trainer: Trainer, scores: dict[str, float] | None) -> str:
    """The table of a class a row, in percent, and how it was measured."""
    if scores is None:
        return f"Not measured at step {trainer.state.global_step}."
    source: DataSource | None = trainer.data_source
    what = "the evaluation data" if source is None else f"split `{source.eval_split}` of `{source.name}`"
    rows = f", {len(trainer.eval_dataset)} images" if has_length(trainer.eval_dataset) else ""
    id2label = trainer.model.config.id2label
    names = [id2label[i] for i in range(len(id2label))]
    lines = [
        f"In percent, on {what}{rows}, after {scores['step']} steps. {PROTOCOL}.\n",
        "| class | IoU | accuracy |",
        "|---|---:|---:|",
        *(f"| {name} | {percent(scores[f'iou_{name}'])} | {percent(scores[f'accuracy_{name}'])} |" for name in names),
        f"| **mean** | **{percent(scores['mean_iou'])}** | **{percent(scores['mean_accuracy'])}** |",
        f"| all pixels | | {percent(scores['overall_accuracy'])} |",
    ]
    return "\n".join(lines)


def percent(value: float) -> str:
    """A score in [0, 1] with two digits after the point, in percent; "-" for a class that does not occur."""
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def training_section(trainer: Trainer) -> str:
    """What was trained on what, as a table."""
    args, source = trainer.args, trainer.data_source
    rows = {}
    if source is not None:
        at = "" if source.revision is None else f" at revision `{source.revision}`"
        config = "" if source.config is None else f", configuration `{source.config}`"
        rows["data set"] = f"`{source.name}`{config}{at}, split `{source.train_split}`"
    if has_length(trainer.train_dataset):
        rows["training images"] = len(trainer.train_dataset)
    rows |= trainer.card_rows()
    rows["steps"] = trainer.state.global_step
    rows["images a step"] = trainer.get_total_train_batch_size(args)
    rows["learning rate"] = f"{args.learning_rate:g}, {args.lr_scheduler_type.value}"
    rows["seed"] = args.seed
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def citation(paper: dict[str, str]) -> str:
    """BibTeX of a paper on arXiv."""
    fields = {"title": paper["title"], "year": paper["year"], "eprint": paper["id"], "archivePrefix": "arXiv"}
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"```bibtex\n@misc{{arxiv:{paper['id']},\n{lines}\n}}\n```"
