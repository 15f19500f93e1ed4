"""Command lines and files that are refused: with one line that names the setting, before anything is trained."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import run, write_example
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

from rss_hf.cli import evaluate, predict, push, train


ROOT = Path(__file__).parents[2]
YES = "y\n" * 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with `config.yaml`, all it names, `file`, and segmentation models of 3 and 4 classes."""
    folder = tmp_path_factory.mktemp("example")
    write_example(folder)
    (folder / "file").write_text("not a folder")
    (folder / "empty").mkdir()
    for name in ("model", "four", "damaged"):
        config = SegformerConfig.from_pretrained(folder / "encoder", num_labels=4 if name == "four" else 3)
        SegformerForSemanticSegmentation(config).save_pretrained(folder / name)
        SegformerImageProcessor().save_pretrained(folder / name)
    weights = folder / "damaged" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return folder


@pytest.fixture
def refusal(folder, tmp_path, monkeypatch):
    """A function that runs a command in `folder` and gives the line it ends with."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def refusal(command, *arguments):
        with pytest.raises(SystemExit) as end:
            run(command.main, *arguments)
        assert isinstance(end.value.code, str) and len(end.value.code.splitlines()) == 1  # to stderr, exit code 1
        assert not list(tmp_path.rglob("checkpoint-*"))
        return end.value.code

    return refusal


def training(tmp_path, *arguments, config="config.yaml"):
    return ["--config", config, "--output_dir", str(tmp_path / "out"), *arguments]


BAD_OPTIONS = {
    "--learning_rate nan": "learning_rate must be a finite number, got nan",
    "--learning_rate inf": "learning_rate must be a finite number, got inf",
    "--learning_rate -1": "learning_rate must be at least 0, got -1.0",
    "--learning_rate 1e999": "learning_rate must be a finite number",
    "--encoder_learning_rate nan": "encoder_learning_rate must be a finite number",
    "--encoder_learning_rate -1e-9": "encoder_learning_rate must be at least 0",
    "--entropy_coef -5": "entropy_coef must be at least 0, got -5.0",
    "--temperature 0": "temperature must be above 0, got 0.0",
    "--entropy_coef nan": "entropy_coef must be a finite number",
    "--weight_decay -inf": "weight_decay must be a finite number, got -inf",
    "--max_grad_norm nan": "max_grad_norm must be a finite number",
    "--adam_beta1 1": "adam_beta1 must be at least 0 and below 1, got 1.0",
    "--adam_epsilon nan": "adam_epsilon must be a finite number",
    "--warmup_steps -1": "warmup_steps must be at least 0, got -1",
    "--stride_warmup nan": "stride_warmup must be a finite number",
    "--stride_warmup 2": r"stride_warmup is a fraction of training in \[0, 1\], got 2",
    "--reward_weights nan": r"reward_weights\[0\] must be a finite number, got nan",
    "--reward_weights 1 2": "1 rewards .* need as many weights",
    "--reward_weights 0": "with every weight 0 there is nothing to train on",
    "--reward_funcs mean_iou dice --reward_weights 0 -0": "with every weight 0",
    "--max_steps 0": "max_steps must be above 0, or -1 .*got 0. To evaluate without training",
    "--max_steps -3": "max_steps must be above 0, or -1 .*got -3",
    "--max_steps -1 --num_train_epochs 0": "num_train_epochs must be above 0",
    "--num_samples 1": "num_samples must be at least 2 .*got 1",
    "--num_samples 2.5": "--num_samples.*invalid int value: '2.5'",
    "--num_samples true": "--num_samples.*invalid int value: 'true'",
    "--num_iterations 0": "num_iterations must be at least 1, got 0",
    "--num_iterations 1.5": "--num_iterations.*invalid int value: '1.5'",
    "--num_iterations 3": "save_steps=2 must be a multiple of num_iterations=3",
    "--strides 4 8": r"from coarse to fine.*got \[4, 8\]",
    "--strides 0": r"strides must be in pixels.*got \[0\]",
    "--strides 4.5": "--strides: invalid int value: '4.5'",
    "--strides 1000": r"a stride of 1000 pixels leaves one action for a whole image of image_size=\[32, 32\]",
    "--strides 33 4": r"a stride of 33 pixels leaves one action",
    "--image_size 0": r"image_size=\[0\] must be a height and a width, or one side",
    "--image_size -32": r"image_size=\[-32\] must be",
    "--image_size 20": r"cannot process images of image_size=\[20, 20\].*Use larger sides",
    "--image_size 16 64": r"cannot process images of image_size=\[16, 64\]",
    "--image_size 32 32 32": r"image_size=\[32, 32, 32\] must be",
    "--image_size 99999": r"image_size=\[99999\] must be",
    "--scale_range 1": r"scale_range=\[1.0\] must be two numbers",
    "--scale_range 1000 1000": r"scale_range=\[1000.0, 1000.0\] must be two numbers from 0.1 to 10",
    "--scale_range nan nan": r"scale_range=\[nan, nan\] must be",
    "--per_device_train_batch_size 0": "per_device_train_batch_size must be at least 1, got 0",
    "--gradient_accumulation_steps -1": "gradient_accumulation_steps must be at least 1",
    "--dataloader_num_workers -1": "dataloader_num_workers must be at least 0",
    "--save_steps 0": "save_steps must be above 0.*save_strategy",
    "--eval_steps 0": "eval_steps must be above 0.*eval_strategy",
    "--seed -1": "seed must be at least 0",
    "--seed 4294967296": "seed must be below 4294967296",
    "--max_train_samples 0": "max_train_samples must be at least 1, got 0. Leave it out",
    "--max_eval_samples -1": "max_eval_samples must be at least 1, got -1",
    "--validation_fraction nan": "validation_fraction must be above 0 and below 1, got nan",
    "--streaming --max_steps -1": "--streaming needs --max_steps",
    "--streaming --recipe few_calls": "advantage_estimator='score_posterior' finds .* --streaming",
    "--metric_for_best_model f1": "metric_for_best_model='f1' is none of the metrics: mean_iou, .*iou_circle",
    "--metric_for_best_model iou_cat --load_best_model_at_end": "'iou_cat' is none of the metrics",
    "--resume_from_checkpoint nowhere": "resume_from_checkpoint='nowhere': there is no such folder.*'last'",
    "--resume_from_checkpoint file": "resume_from_checkpoint='file': there is no such folder",
    "--resume_from_checkpoint empty": "empty was not written to the end",
    "--model_name_or_path ./nowhere": "./nowhere: there is no such folder",
    "--model_name_or_path empty/model": "empty/model: there is no such folder",
    "--model_name_or_path checkpoint-100": "checkpoint-100: there is no such folder",
    "--model_name_or_path file": "file is a file. Give the folder",
    "--model_name_or_path empty": "empty holds no model, since it has no config.json",
    "--model_name_or_path .": "it has the folders .*encoder.*, which do",
    "--model_name_or_path damaged": "The weights of damaged are damaged",
    "--model_name_or_path four": r"four has a head for 4 classes .*does not fit the 3 given.*ignore_mismatched_sizes",
    "--output_dir file": "--output_dir 'file' cannot be written to: it is a file",
    "--output_dir file/out": "--output_dir 'file/out' cannot be written to",
    "--output_dir /proc/out": "--output_dir '/proc/out' cannot be written to",
    "--recipe few": "There is no recipe 'few'. .*few_calls",
    "--recipe few_calls --recipe default": "--recipe is given 2 times",
    "--reward_funcs mean_iuo": "'mean_iuo'",
    "--reward_funcs nowhere:judge": "'nowhere:judge' could not be imported",
    "--class_names a b c c": "different names",
    "--palette black": "palette has 1 colours for 3 classes",
    "--dataset_name nowhere,masks": "No folder nowhere",
    "--report_to wnadb": "report_to='wnadb' is not installed or not known",
    "--optim_args lr": "optim_args='lr'.*cannot be made",
    "--lr_scheduler_type cosine_with_min_lr": "lr_scheduler_type='cosine_with_min_lr'.*min_lr",
    "--lr_scheduler_type cosin": "invalid choice: 'cosin'",
    "--label_smoothing_factor 0.1": "label_smoothing_factor=0.1 has no effect",
    "--load_best_model_at_end --eval_strategy no": "load_best_model_at_end",
    "--learning_rat 1": "unknown argument 'learning_rat'. Did you mean 'learning_rate'",
    "-num_samples 4": "belong to no argument: -num_samples",
}


@pytest.mark.parametrize("options", BAD_OPTIONS)
def test_bad_options(refusal, tmp_path, options):
    line = training(tmp_path, *options.split())
    if options.startswith("--output_dir"):
        line = ["--config", "config.yaml", *options.split()]
    assert_matches(refusal(train, *line), BAD_OPTIONS[options])


@pytest.mark.parametrize(
    "option, value, message",
    [
        ("advantage_estimator_kwargs", '{"eta": NaN}', r"advantage_estimator_kwargs\['eta'\] must be a finite number"),
        (
            "advantage_estimator_kwargs",
            '{"eta": "big"}',
            "advantage_estimator_kwargs: eta must be a number, got 'big'",
        ),
        ("advantage_estimator_kwargs", '{"eta": 1, "eta": 2}', "'eta' stands there twice"),
        ("advantage_estimator_kwargs", '{"etta": 1}', "no setting 'etta'.*Did you mean 'eta'"),
        ("advantage_estimator_kwargs", "[1]", "advantage_estimator_kwargs must be a mapping"),
        ("advantage_estimator_kwargs", "{eta: 1}", "advantage_estimator_kwargs='{eta: 1}' is no JSON"),
        ("model_init_kwargs", "num_labels=3", "model_init_kwargs='num_labels=3' is no JSON"),
        ("model_init_kwargs", '{"num_labels": 7}', "num_labels is 7, but there are 3 classes"),
        ("model_init_kwargs", '{"nothing": 7}', "model_init_kwargs={'nothing': 7} do not fit the model"),
        ("model_init_kwargs", '{"hidden_sizes": 7}', "model_init_kwargs={'hidden_sizes': 7} do not fit the model"),
        ("lr_scheduler_kwargs", '{"nothing": 1}', "lr_scheduler_kwargs={'nothing': 1}, cannot be made"),
        ("lr_scheduler_kwargs", '{"power": Infinity}', r"lr_scheduler_kwargs\['power'\] must be a finite number"),
        ("accelerator_config", '{"nothing": 1}', "AcceleratorConfig.*'nothing'"),
        ("output_dir", "", "output_dir='' names no folder"),
        ("output_dir", "a\0b", "--output_dir 'a.x00b' cannot be written to"),
        ("dataset_name", " ", "dataset_name is empty"),
        ("model_name_or_path", "", "model_name_or_path is empty"),
        ("class_names", "", "class_names=.* has an empty name"),
        ("learning_rate", "", "--learning_rate.*invalid float value: ''"),
    ],
)
def test_bad_texts(refusal, tmp_path, option, value, message):
    assert_matches(refusal(train, *training(tmp_path), f"--{option}", value), message)


BAD_FILES = {
    "num_samples: 4\nnum_samples: 8\n": "line 2: 'num_samples' stands there for the second time",
    "num_samples: [4\n": "line 2: expected ',' or ']'",
    "num_samples: 4.5\n": "bad.yaml: argument --num_samples.*invalid int value: '4.5'",
    "num_samples: true\n": "bad.yaml: argument --num_samples.*invalid int value: 'True'",
    "num_samples: {a: 1}\n": "bad.yaml: argument --num_samples",
    "num_samples: [4]\n": "bad.yaml: num_samples takes one value, got a list",
    "output_dir: [a, b]\n": "bad.yaml: output_dir takes one value, got a list",
    "strides: [[4]]\n": "bad.yaml: strides holds a list",
    "strides: [8, null]\n": "bad.yaml: strides has None in its list",
    "class_names: [a, --seed, '3']\n": "bad.yaml: class_names has '--seed' in its list",
    "output_dir: !!binary aGk=\n": "bad.yaml: output_dir holds a bytes",
    "strides: !!set {4}\n": "bad.yaml: strides holds a set",
    "learning_rate: .nan\n": "bad.yaml: learning_rate must be a finite number, got nan",
    "reward_weights: [.inf]\n": r"bad.yaml: reward_weights\[0\] must be a finite number, got inf",
    "entropy_coef: -5\n": "bad.yaml: entropy_coef must be at least 0, got -5",
    "advantage_estimator_kwargs: {eta: .nan}\n": r"bad.yaml: advantage_estimator_kwargs\['eta'\] must be a finite",
    "advantage_estimator_kwargs: {eta: 2020-01-01}\n": "eta must be a number, got '2020-01-01'",
    "advantage_estimator_kwargs: {2020-01-01: 1}\n": "kwargs cannot be written as JSON: keys must be",
    "advantage_estimator_kwargs: &a {eta: *a}\n": "kwargs cannot be written as JSON: Circular",
    "learning_rte: 1\n": "bad.yaml: unknown argument 'learning_rte'. Did you mean 'learning_rate'",
    "1: 2\n": "bad.yaml: unknown argument 1",
    "config: other.yaml\n": "bad.yaml: unknown argument 'config'",
    "- 1\n": "bad.yaml: expected lines of 'name: value', got a list",
    "eval_delay: 2020-99-99\n": "bad.yaml is not a text file of YAML: month must be in 1..12",
    "a: " + "[" * 10000 + "\n": "bad.yaml is not a text file of YAML: it is nested too deeply",
    "seed: " + "1" * 5000 + "\n": "bad.yaml is not a text file of YAML: Exceeds the limit",
    "? [a]\n: 1\n": "bad.yaml, line 1",
    "eval_delay: !!timestamp\n": "bad.yaml is not a text file of YAML",
    "seed: !!python/object/apply:os.getpid []\n": "bad.yaml, line 1: could not determine a constructor",
}


@pytest.mark.parametrize("text", BAD_FILES, ids=range(len(BAD_FILES)))
def test_bad_files(refusal, tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    config = ["--config", str(tmp_path / "bad.yaml")]
    assert_matches(refusal(train, *config), BAD_FILES[text])


BAD_LINES = [
    (evaluate, "", "required: --model"),
    (evaluate, "--model nowhere/at/all --dataset_name shapes", "nowhere/at/all: there is no such folder"),
    (evaluate, "--model file --dataset_name shapes", "file is a file"),
    (evaluate, "--model empty --dataset_name shapes", "empty holds no model"),
    (evaluate, "--model damaged --dataset_name images,masks", "The weights of damaged cannot be loaded"),
    (evaluate, "--model encoder --dataset_name images,masks", "encoder lacks .* weights .*random"),
    (evaluate, "--model model --dataset_name nowhere,masks", "No folder nowhere"),
    (evaluate, "--model model --dataset_name images,masks --eval_split x", "no split 'x'"),
    (evaluate, "--model model --dataset_name images,masks --window 8", r"window=\[8\] must be"),
    (evaluate, "--model model --dataset_name images,masks --window 0 8", r"window=\[0, 8\] must be"),
    (evaluate, "--model model --dataset_name images,masks --batch_size 0", "batch_size=0 must be at least 1"),
    (evaluate, "--model model --dataset_name images,masks --num_workers -1", "num_workers=-1 at least 0"),
    (evaluate, "--model model --dataset_name images,masks --max_eval_samples 0", "max_eval_samples must be"),
    (evaluate, "--model model --dataset_name images,masks --output_file empty", "--output_file empty is a folder"),
    (
        evaluate,
        "--model model --dataset_name images,masks --output_file file/a.json",
        "--output_file .*cannot be written",
    ),
    (predict, "--model model", "required: --input, --output_dir"),
    (predict, "--model model --input nowhere --output_dir out", "--input nowhere: there is no such file or folder"),
    (predict, "--model model --input empty --output_dir out", "empty: the folder holds no images"),
    (predict, "--model model --input images/train --output_dir file", "--output_dir 'file' cannot be written"),
    (predict, "--model nowhere/a/b --input images/train --output_dir out", "nowhere/a/b: there is no such folder"),
    (predict, "--model encoder --input images/train --output_dir out", "encoder lacks .* weights"),
    (predict, "--model model --input images/train --output_dir out --window 8 8 8", r"window=\[8, 8, 8\] must be"),
    (push, "--folder model", "required: --repo_id"),
    (push, "--folder nowhere --repo_id a/b", "--folder nowhere: there is no config.json in it"),
    (push, "--folder model --repo_id a/b/c", "a/b/c"),
]


@pytest.mark.parametrize("command, line, message", BAD_LINES, ids=range(len(BAD_LINES)))
def test_bad_lines_of_the_other_commands(refusal, command, line, message):
    assert_matches(refusal(command, *line.split()), message)


@pytest.mark.parametrize(
    "command, message",
    [
        (
            ["-m", "rss_hf_cli", "train", "--learning_rate", "nan"],
            "learning_rate must be a finite number, got nan",
        ),
        ([ROOT / "scripts" / "predict.py", "--model", "a/b/c"], "required: --input, --output_dir"),
    ],
)
def test_a_process_ends_with_the_line_alone_and_exit_code_1(folder, command, message):
    result = process(folder, [sys.executable, *command])
    assert (result.returncode, result.stdout) == (1, "")
    assert message in result.stderr.splitlines()[-1] and "Traceback" not in result.stderr


def test_two_processes_both_end_and_the_second_says_which_it_is(folder):
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "-m", "rss_hf.cli.train"]
    result = process(folder, [sys.executable, *launch, "--config", "config.yaml", "--output_dir", "file"])
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if "cannot be written to" in line]
    assert lines and all(line.startswith(("--output_dir 'file'", "Process 1: --output_dir 'file'")) for line in lines)


@pytest.mark.parametrize(
    "line, answers",
    [
        ("train --config config.yaml --model_name_or_path {remote} --output_dir {remote}/out", YES),
        ("evaluate --model {remote} --dataset_name images,masks", YES),
        ("predict --model {remote} --input images/train --output_dir {remote}/out", YES),
        ("predict --model {remote} --input images/train --output_dir {remote}/out", None),
    ],
    ids=["train", "evaluate", "predict", "closed"],
)
def test_no_command_asks_whether_to_trust_code(folder, tmp_path, line, answers):
    auto_map = {"AutoConfig": "code.Config", "AutoModelForSemanticSegmentation": "code.Model"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "of_mine", "auto_map": auto_map}))
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    command = [sys.executable, "-m", "rss_hf_cli", *line.format(remote=tmp_path).split()]
    result = process(folder, command, answers)
    assert result.returncode == 1 and not (tmp_path / "ran").exists()
    assert "trust_remote_code" in result.stderr.splitlines()[-1] and "Traceback" not in result.stderr
    assert "[y/N]" not in result.stdout + result.stderr


def process(folder, command, answers=None):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    options = {"input": answers} if answers else {"stdin": subprocess.DEVNULL}
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=folder, env=environment, timeout=120, **options
    )


def assert_matches(line, message):
    with pytest.raises(ValueError, match=message):
        raise ValueError(line)
