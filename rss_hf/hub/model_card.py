"""The model card: what was trained on what, by which reward, and what was measured, with nothing that was not."""

import html
import os
import re
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import Trainer
from transformers.trainer_utils import has_length

from ..reporting.figures import CURVES, training_curves
from ..reporting.report import percent


TEMPLATE = Path(__file__).with_name("model_card_template.md")
CURVES_FILE = "training_curves.png"
PROTOCOL = (
    "PASCAL VOC: logits upsampled bilinearly to each label map's original size, one confusion matrix over the split, "
    "void pixels left out, mean over the classes that occur in references or predictions"
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
    has_curves = any(logs.keys() & CURVES.keys() for logs in trainer.state.log_history)
    if has_curves:
        training_curves(trainer.state.log_history, folder / CURVES_FILE)
    model = trainer.model
    repo_id = trainer.hub_model_id or trainer.args.hub_model_id or Path(trainer.args.output_dir).absolute().name
    name = model_name or repo_id.split("/")[-1]
    scores = measured_scores(trainer)
    card = ModelCard.from_template(
        card_data(trainer, name, scores, license, [tags] if isinstance(tags, str) else tags or []),
        template_path=str(TEMPLATE),
        trainer=trainer,
        name=name,
        repo_id=repo_id,
        model_class=type(model).__name__,
        has_own_code=not type(model).__module__.startswith("transformers."),
        class_names=[model.config.id2label[i] for i in range(model.config.num_labels)],
        num_train=length(trainer.train_dataset),
        num_eval=length(trainer.eval_dataset),
        scores=scores,
        protocol=PROTOCOL,
        curves=CURVES_FILE if has_curves else None,
        percent=percent,
        escape=escape,
    )
    card.save(folder / "README.md")


def measured_scores(trainer: Trainer) -> dict[str, float] | None:
    """
    What was measured of exactly the weights the model has now, by name without `eval_`, and the `step` the weights are
    of; None where nothing was. Scores on labels are in [0, 1]; without labels there are rewards, in their own units.
    """
    state, step = trainer.state, trainer.state.global_step
    if trainer.args.load_best_model_at_end and state.best_global_step and not trainer.is_in_train:
        step = state.best_global_step
    for logs in reversed(state.log_history):
        if logs["step"] == step and logs.keys() & {"eval_mean_iou", "eval_reward"}:
            scores = {key.removeprefix("eval_"): value for key, value in logs.items() if key.startswith("eval_")}
            return scores | {"step": step}
    return None


def card_data(trainer: Trainer, name: str, scores, license: str | None, tags: list[str]) -> ModelCardData:
    """The front matter of the card. Its model-index has `scores["mean_iou"]`, where it was measured and of what."""
    source, base_model = trainer.data_source, base_model_id(trainer.model.config.name_or_path)
    has_miou = scores is not None and "mean_iou" in scores
    rows, results = length(trainer.eval_dataset), None
    if has_miou and source is not None:
        results = [
            EvalResult(
                task_type="image-segmentation",
                task_name="semantic segmentation",
                dataset_type=source.name,
                dataset_name=source.name.split("/")[-1],
                dataset_config=source.config,
                dataset_split=source.eval_split,
                dataset_revision=source.revision,
                dataset_args=rows and {"rows": rows},
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
        metrics=["mean_iou"] if has_miou else None,
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


def length(dataset) -> int | None:
    """The number of examples, None where it is not known."""
    return len(dataset) if has_length(dataset) else None


def escape(name: str) -> str:
    """A name as the text of a Markdown table's cell, whatever characters it has."""
    return re.sub(r"([\\`*_~|$\[\]])", r"\\\1", html.escape(" ".join(name.split()), quote=False))
