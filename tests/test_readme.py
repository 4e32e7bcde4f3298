"""The README says what is true: its commands are the ones that `.ci/run` runs, its pictures exist.

What the documentation must explain is in `test_docs.py`.
"""

from __future__ import annotations

import re

from altub.cli.app import app
from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_two_commands_set_everything_up_and_ci_runs_them() -> None:
    assert "    pip install -r requirements.txt && python app.py\n" in README
    assert "    pip install -r requirements-dev.txt && pytest\n" in README
    ci = (REPOSITORY / ".ci/run").read_text(encoding="utf-8")
    assert "pip install -q -r requirements-dev.txt\n" in ci and "python app.py" in ci
    assert (
        "  exec nice -n 19 pytest\n" in ci
        and '$browser" pytest || failed=1\n' in ci
        and ci.endswith('exit "$failed"\n')
    )
    assert "-r requirements.txt" in (REPOSITORY / "requirements-dev.txt").read_text(encoding="utf-8")


def test_pictures_are_there() -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert pictures
    for picture in pictures:
        assert (REPOSITORY / picture).is_file(), picture


def test_every_command_it_shows_exists() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    shown = set(re.findall(r"python -m altub (\w+)", README))
    assert shown and shown <= known
