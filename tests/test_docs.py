"""The documentation is complete: a setting, command, public name or tab that no page explains fails a test here."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel
from typer.main import get_command

import altub
from altub import settings
from altub.backbones import registry as backbones
from altub.cli.app import app
from altub.flows import registry as flows
from altub.runs import run as run_directory
from altub.training.config import TrainingConfig
from tests.conftest import REPOSITORY

README = REPOSITORY / "README.md"
DOCS = sorted((REPOSITORY / "docs").glob("*.md"))
PAGES = [README, REPOSITORY / "CONTRIBUTING.md", *DOCS]
LONGEST_README, LONGEST_PAGE = 130, 350  # lines


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def all_docs() -> str:
    return "\n".join(map(read, [README, *DOCS]))


def code_blocks(text: str) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings get on GitHub; `#` lines inside of code blocks are no headings."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Form.


def test_readme_is_a_page_and_a_half() -> None:
    lines = read(README).splitlines()
    assert len(lines) <= LONGEST_README
    first = "\n".join(lines[:60])
    for needed in ("pip install -r requirements.txt && python app.py", "pytest", "```python", "## Your data"):
        assert needed in first, f"{needed} belongs in the first 60 lines"
    assert len(re.findall(r"!\[", first)) >= 6


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_pages_stay_short(page: Path) -> None:
    assert len(read(page).splitlines()) <= LONGEST_PAGE


def test_readme_links_every_page() -> None:
    for page in DOCS:
        assert f"(docs/{page.name})" in read(README), page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        goal = (page.parent / name).resolve() if name else page
        assert goal.is_file(), f"{page.name} links to {target}, which does not exist"
        if anchor:
            assert anchor in anchors(read(goal)), f"{page.name} links to {target}, which has no such heading"


# Completeness.


def test_every_environment_variable_is_explained() -> None:
    code = "".join(read(path) for path in (REPOSITORY / "altub").rglob("*.py")) + (settings.__doc__ or "")
    table = read(REPOSITORY / "docs" / "deployment.md")
    for name in sorted(set(re.findall(r"\bALTUB_[A-Z_]+", code))):
        assert f"| `{name}` |" in table, f"{name} is missing in the table of docs/deployment.md"
    tested = "".join(read(path) for path in (REPOSITORY / "tests").rglob("*.py"))
    explained = table + read(REPOSITORY / "CONTRIBUTING.md")
    for name in sorted(set(re.findall(r"\"(ALTUB_[A-Z_]+)\"", tested))):
        assert f"`{name}`" in explained, f"{name} is missing in CONTRIBUTING.md"


def test_every_tab_is_explained() -> None:
    tabs = re.findall(r"gr\.Tab\(\"([^\"]+)\"", read(REPOSITORY / "altub" / "ui" / "app.py"))
    assert len(tabs) >= 4
    for tab in tabs:
        assert f"**{tab}**" in read(README), f"the tab {tab} is missing in the README"
        assert f"**{tab}**" in read(REPOSITORY / "docs" / "deployment.md"), f"the tab {tab} is missing in deployment.md"


def test_every_command_and_flag_is_explained() -> None:
    page = sections(read(REPOSITORY / "docs" / "cli.md"))
    for name, command in get_command(app).commands.items():
        found = [text for heading, text in page.items() if name in heading.split(", ")]
        assert found, f"the command {name} has no section in docs/cli.md"
        assert f"python -m altub {name}" in found[0], f"the command {name} has no example in docs/cli.md"
        for flag in flags(command):
            assert re.search(rf"{flag}(?![\w-])", found[0]), f"{flag} is missing in the section {name} of docs/cli.md"


def test_every_option_of_the_page_is_explained() -> None:
    given = re.findall(r"add_argument\(\"(--[a-z-]+)\"", read(REPOSITORY / "altub" / "ui" / "app.py"))
    assert len(given) >= 5
    page, commands = read(REPOSITORY / "docs" / "deployment.md"), read(REPOSITORY / "docs" / "cli.md")
    for option in given:
        assert f"| `{option}" in page and f"`{option}`" in commands, option


def test_every_setting_is_explained() -> None:
    table = sections(read(REPOSITORY / "docs" / "cli.md"))["settings"]
    library = read(REPOSITORY / "docs" / "api.md")  # has what only Python can set
    for name in field_names(TrainingConfig):
        assert f"| `{name}` |" in table or f"`{name}`" in library, (
            f"{name} is missing: renew the table in docs/cli.md by `python -m altub settings --markdown`"
        )


def flags(command: click.Command) -> list[str]:
    """The long spellings of a command's options, without --help."""
    found = [name for option in command.params for name in (*option.opts, *option.secondary_opts)]
    for part in getattr(command, "commands", {}).values():  # of a group
        found += flags(part)
    return [name for name in found if name.startswith("--") and name != "--help"]


def sections(text: str) -> dict[str, str]:
    """Heading of the second level -> what stands below it."""
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    return {heading.strip().lower(): body for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def field_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    names: list[str] = []
    for name, field in model.model_fields.items():
        nested = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        names += field_names(field.annotation, f"{prefix}{name}.") if nested else [prefix + name]
    return names


def test_every_file_of_a_run_is_explained() -> None:
    """The run directory's own docstring lists them, six spaces deep; several in a line have commas."""
    page = sections(read(REPOSITORY / "docs" / "deployment.md"))["a run directory"]
    lines = re.findall(r"^ {6}(\S.*?)  ", run_directory.__doc__ or "", flags=re.MULTILINE)
    assert len(lines) >= 10
    for name in ", ".join(lines).split(", "):
        assert f"`{name}`" in page, f"{name} is missing in docs/deployment.md"


def test_every_public_name_is_explained() -> None:
    page = read(REPOSITORY / "docs" / "api.md")
    for name in altub.__all__:
        assert f"`{name}`" in page, f"altub.{name} is missing in docs/api.md"


# The examples run.


def test_readme_example_runs(in_tiny_sample: None, capsys: pytest.CaptureFixture) -> None:
    (example,) = code_blocks(read(README))
    names: dict[str, Any] = {}
    exec(compile(shortened(example), "README.md", "exec"), names)
    assert capsys.readouterr().out.strip()
    assert 0 < names["prediction"].p_value <= 1


def test_examples_of_the_library_run(in_tiny_sample: None) -> None:
    names: dict[str, Any] = {}
    for block in code_blocks(read(REPOSITORY / "docs" / "api.md")):
        exec(compile(shortened(block), "docs/api.md", "exec"), names)


@pytest.fixture(autouse=True)
def registered_names() -> Iterator[None]:
    """Flows and backbones that an example registers are forgotten after it."""
    before = [(known, dict(known)) for known in (flows._flows, backbones._registered)]
    yield
    for known, names in before:
        known.clear()
        known.update(names)


@pytest.fixture
def in_tiny_sample(tiny_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, in which the built-in sample has a few images, and no network."""
    from huggingface_hub import constants

    shutil.copytree(tiny_sample, tmp_path / "data/sample")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALTUB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ALTUB_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("ALTUB_WEIGHTS", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def shortened(example: str) -> str:
    """The same with one epoch of training on small images."""
    return re.sub(r"epochs=[1-9]\d*", "epochs=1, image_size=64", example)
