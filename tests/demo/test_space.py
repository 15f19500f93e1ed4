"""What a Space of the Hub reads before the page runs, and how the page is started."""

import shutil
import subprocess
import sys
from importlib.metadata import requires

import pytest
import yaml
from helpers.demo_server import ENVIRONMENT, ROOT
from packaging.requirements import Requirement
from PIL import Image

from rss_hf.demo import app, server
from rss_hf.demo.segment_tab import shown_size


FOLDER = ROOT / "spaces_app"


def test_the_space_says_how_it_is_to_be_run():
    head = yaml.safe_load((FOLDER / "README.md").read_text().split("---")[1])
    assert head["sdk"] == "gradio" and (FOLDER / head["app_file"]).is_file()
    [gradio] = [Requirement(line) for line in requires("rss-hf") if line.startswith("gradio")]
    assert head["sdk_version"] in gradio.specifier
    assert head["title"] and head["license"] == "apache-2.0" and len(head["short_description"]) <= 60
    wanted = [Requirement(line) for line in (FOLDER / "requirements.txt").read_text().splitlines() if line[0] != "#"]
    assert [requirement.name for requirement in wanted] == ["rss-hf"]


@pytest.mark.parametrize(
    ("size", "shown"),
    [((64, 64), (64, 64)), ((2000, 2000), (2000, 2000)), ((4000, 4000), (2000, 2000)), ((4000, 3000), (2309, 1732))],
)
def test_only_large_photos_are_shown_smaller(size, shown):
    assert shown_size(Image.new("1", size)) == shown


@pytest.mark.parametrize(("space", "local", "host"), [("org/demo", False, "0.0.0.0"), (None, True, "127.0.0.1")])
def test_only_a_space_is_open_to_the_world_and_closed_to_folders(monkeypatch, space, local, host):
    served = []
    monkeypatch.setattr(server, "serve", lambda models, port, host: served.append((models, port, host)))
    monkeypatch.setenv("RSS_MODEL", "org/name")
    if space is None:
        monkeypatch.delenv("SPACE_ID", raising=False)
    else:
        monkeypatch.setenv("SPACE_ID", space)
    app.main(["--port", "7861"])
    [(models, port, address)] = served
    assert (models.default, models.local, port, address) == ("org/name", local, 7861, host)


def python(*arguments: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "RSS_MODEL"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=120)


def test_the_folder_of_the_space_needs_no_other_file(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "space")
    answer = python(tmp_path / "space" / "app.py")
    assert answer.returncode == 2 and "Give --model FOLDER_OR_ID, or set RSS_MODEL" in answer.stderr


def test_only_the_demo_imports_gradio():
    answer = python("-c", "import sys, rss_hf; print('gradio' in sys.modules)")
    assert answer.stdout == "False\n"


def test_the_model_must_be_named(monkeypatch, capsys):
    monkeypatch.delenv("RSS_MODEL", raising=False)
    with pytest.raises(SystemExit):
        app.main([])
    assert "Give --model FOLDER_OR_ID, or set RSS_MODEL" in capsys.readouterr().err
