import subprocess
import sys
from pathlib import Path

import pytest
from transformers import TrainingArguments

import rss_hf_cli as main
from rss_hf import RSSConfig, SegmentationConfig
from rss_hf.cli import check_data, evaluate, predict, push, train
from rss_hf.cli.help import TRAINER_OPTIONS
from rss_hf.recipes import recipe_names


ROOT = Path(__file__).parents[2]


def printed(capsys, command, *arguments):
    with pytest.raises(SystemExit) as exit:
        command.main([*arguments])
    assert not exit.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("command", [train, evaluate, check_data, predict, push])
def test_help_fits_a_screen_and_begins_with_what_the_command_does(capsys, command):
    lines = printed(capsys, command, "--help").splitlines()
    assert len(lines) < 80
    assert lines[0] == command.__doc__.strip().splitlines()[0]
    assert printed(capsys, command, "-h").splitlines() == lines


def test_own_options_come_before_the_trainers_with_their_defaults(capsys):
    text = printed(capsys, train, "--help")
    lines = [line for line in text.splitlines() if line.startswith("  --")]
    names = [line.split()[0].removeprefix("--") for line in lines]
    groups = [line for line in text.splitlines() if line[:1].isalpha()][-5:]
    assert groups == ["Model", "Data", "Augmentation", "Rewards and policy gradient", "Training"]
    own = [
        name
        for config in (RSSConfig, SegmentationConfig)
        for name in config.__annotations__
        if name not in TrainingArguments.__dataclass_fields__
    ]
    assert len(own) == 19
    assert names[-len(own) - len(TRAINER_OPTIONS) :] == [*own, *TRAINER_OPTIONS]
    assert len(set(names)) == len(names)
    for name, default in {"num_samples": "128", "strides": "4", "image_size": "512 512", "do_train": "true"}.items():
        assert lines[names.index(name)].endswith(f" [{default}]")
    assert "leave_one_out, " in lines[names.index("advantage_estimator")]
    assert all(name in lines[names.index("recipe")] for name in recipe_names())
    assert "--adam_beta1" not in text


def test_help_all_lists_every_option_once(capsys):
    text = printed(capsys, train, "--help_all")
    names = [line.split()[0].removeprefix("--") for line in text.splitlines() if line.startswith("  --")]
    assert "adam_beta1" in names and names.index("num_samples") < names.index("adam_beta1")
    assert len(set(names)) == len(names)
    assert {name for name, field in RSSConfig.__dataclass_fields__.items() if field.init} <= set(names)


def test_required_options_say_so(capsys):
    lines = printed(capsys, predict, "--help").splitlines()
    assert [line.split()[0] for line in lines if line.endswith("Required.")] == ["--model", "--input", "--output_dir"]
    with pytest.raises(SystemExit, match="the following arguments are required: --model"):
        predict.main([])


@pytest.mark.parametrize("argv", [["--help"], ["-h"], []])
def test_the_commands_have_a_line_each(capsys, argv):
    main.main(argv)
    lines = capsys.readouterr().out.splitlines()
    for command, text in main.COMMANDS.items():
        assert f"  {command:<10} {text}" in lines
    assert list(main.COMMANDS) == ["train", "evaluate", "check-data", "predict", "push", "demo"]


def test_the_list_of_commands_imports_nothing_that_takes_seconds():
    code = "import sys, rss_hf_cli; rss_hf_cli.main(['--help']); print({'torch', 'transformers'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout == main.help_text() + "\nset()\n"


def test_a_command_is_run_with_the_rest_of_the_line(capsys, monkeypatch):
    assert printed(capsys, main, "push", "--help") == printed(capsys, push, "--help")
    monkeypatch.setattr(sys, "argv", ["rss-hf", "push", "--help"])
    with pytest.raises(SystemExit):
        main.main()
    assert "--repo_id" in capsys.readouterr().out


def test_an_unknown_command_is_refused_with_the_nearest():
    with pytest.raises(
        SystemExit, match="no command 'trian'. Did you mean 'train'.* The commands are train, evaluate"
    ):
        main.main(["trian"])
    with pytest.raises(SystemExit, match="no command 'x'. The commands are"):
        main.main(["x"])


def test_the_demo_says_what_it_needs_and_its_help_needs_nothing(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "rss_hf.demo.server", raising=False)
    assert "--port" in printed(capsys, main, "demo", "--help")
    with pytest.raises(SystemExit) as end:
        main.main(["demo", "--model", "org/name"])
    assert end.value.code == "The demo needs gradio, which is not installed: pip install 'rss-hf[demo]'."
