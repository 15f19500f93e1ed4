"""What the texts promise: their length, that what they name is there, and the arrows of the house."""

import ast
import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from rss_hf import RSSConfig
from rss_hf.advantages import ESTIMATORS
from rss_hf.cli.arguments import AugmentationArguments, DataArguments, ModelArguments, parse_args
from rss_hf.cli.check_data import CheckDataArguments
from rss_hf.cli.evaluate import EvaluateArguments
from rss_hf.cli.predict import PredictArguments
from rss_hf.cli.push import PushArguments
from rss_hf.recipes import recipe_names
from rss_hf.rewards import REWARDS


ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
LINK = re.compile(r"!?\[[^]]*\]\(([^)\s]+)\)")


ARGUMENTS = {
    "train": (ModelArguments, DataArguments, AugmentationArguments, RSSConfig),
    "evaluate": (EvaluateArguments, DataArguments),
    "check-data": (CheckDataArguments, DataArguments),
    "predict": (PredictArguments,),
    "push": (PushArguments,),
}


def commands() -> list[str]:
    """The command lines `rss-hf ...` of all pages."""
    blocks = [block for page in PAGES for block in re.findall(r"```(\w*)\n(.*?)```", page.read_text(), re.DOTALL)]
    text = "\n".join(code.replace("\\\n", " ") for language, code in blocks if language in ("", "bash"))
    return sorted(
        set(re.findall(rf"^ *(?:\w+=\w+ )?(rss-hf (?:{'|'.join(ARGUMENTS)}) .*)$", text, flags=re.MULTILINE))
    )


def read(name: str) -> str:
    return (ROOT / name).read_text()


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The fragments that a link to a page may have: its headings, as GitHub writes them, and its own `id`s."""
    text = without_code(page.read_text())
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'id="([^"]+)"', text))


def column(table_header: str, text: str, index: int) -> set[str]:
    """What stands in back-quotes in a column of the table that begins with `table_header`."""
    rows = text[text.index(table_header) :].split("\n\n")[0].splitlines()[2:]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[index])}


def test_lengths():
    assert len(read("README.md").split()) <= 900
    for page in ("docs/method.md", "docs/results.md"):
        assert len(read(page).splitlines()) <= 300, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    dead = []
    for link in LINK.findall(without_code(page.read_text())):
        if "://" in link:
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (fragment and fragment not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_dead_links_would_be_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text('# A *title*, of `code_x`\n\n<a id="own"></a>\n\n```\n# no title\n[no](link)\n```\n[a](b.md#c)\n')
    assert anchors(page) == {"a-title-of-code_x", "own"}
    assert LINK.findall(without_code(page.read_text())) == ["b.md#c"]


@pytest.mark.parametrize("line", commands())
def test_commands_are_understood(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    _, command, *words = shlex.split(line, comments=True)
    parsed = parse_args(*ARGUMENTS[command], argv=words)
    given = {word[2:]: words[i + 1] for i, word in enumerate(words[:-1]) if word.startswith("--")}
    values = {name: value for arguments in parsed for name, value in vars(arguments).items()}
    for name in given.keys() & {"output_dir", "dataset_name", "model", "input", "folder", "repo_id", "hub_model_id"}:
        assert values[name] == given[name]


def test_files_named_in_the_method_are_there():
    named = set(re.findall(r"`((?:rss_hf|benchmarks|examples)/[\w/]+\.\w+)`", read("docs/method.md")))
    assert len(named) >= 15
    assert {name for name in named if not (ROOT / name).is_file()} == set()


def test_every_recipe_is_in_the_readme():
    assert column("| situation | recipe |", read("README.md"), 2) == set(recipe_names())


def test_every_reward_is_documented():
    assert column("| name | level |", read("docs/rewards.md"), 1) == set(REWARDS)


def test_every_setting_of_an_estimator_is_documented():
    method = read("docs/method.md")
    settings = {f.name for estimator in ESTIMATORS.values() for f in dataclasses.fields(estimator.config_class)}
    assert {name for name in settings if f"`{name}`" not in method} == set()


def test_every_name_beside_one_of_trl_exists():
    named = column("| TRL (`GRPOConfig`", read("docs/from_trl.md"), 2)
    named = {name for name in named if re.fullmatch(r"[a-z_]+", name)}
    fields = {field.name for field in dataclasses.fields(RSSConfig)}
    assert {"num_samples", "scale_rewards"} <= named
    assert named - fields == {"eta", "processing_class"}  # a setting of the estimators, an argument of the Trainer


def imports(file: Path) -> set[tuple[str, ...]]:
    """The modules of rss_hf that a file of it imports, as paths: `("policy", "action_grid")`."""
    package, found = file.relative_to(ROOT / "rss_hf").parts[:-1], set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.level or node.module.split(".")[0] == "rss_hf"):
            module = tuple((node.module or "").split(".")) if node.module else ()
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = base + (module if node.level else module[1:])
            found |= {(*module, alias.name) for alias in node.names}
    return found


def test_arrows_of_the_house():
    """Each folder imports what the table in CONTRIBUTING.md allows it, and nothing else."""
    table = read("CONTRIBUTING.md")
    table = table[table.index("| folder of `rss_hf/`") :].split("\n\n")[0].splitlines()[2:]
    rows = [[re.findall(r"`(\w+)/?`", cell) for cell in row.split("|")[1:-1]] for row in table]
    folders = {path.name for path in (ROOT / "rss_hf").iterdir() if (path / "__init__.py").is_file()}
    assert {folder for (folder,), _, _ in rows} == folders
    for (folder,), _, allowed in rows:
        if folder == "demo":  # "all but" these
            allowed = folders - set(allowed)
        for file in (ROOT / "rss_hf" / folder).rglob("*.py"):
            forbidden = {path[0] for path in imports(file)} & folders - {folder, *allowed}
            assert forbidden == set(), f"{file.relative_to(ROOT)} imports {forbidden}"


def test_score_posterior_can_be_deleted():
    """No file outside its folder knows it, but for the table of estimators."""
    others = [file for file in (ROOT / "rss_hf").rglob("*.py") if "score_posterior" not in file.parts]
    knowing = [file for file in others if any("score_posterior" in path for path in imports(file))]
    assert [str(file.relative_to(ROOT)) for file in knowing] == ["rss_hf/advantages/__init__.py"]


def test_style_of_words():
    """The words of the research diary stay out of the texts for users."""
    private = re.compile(r"\b(worths|doubts?|taught|beliefs?|calibrated|queries|by image|visits)\b", re.IGNORECASE)
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    found = {f"{page.name}: {word}" for page in pages for word in private.findall(page.read_text())}
    assert found == set()
