"""The command line within this process: what a command printed and how it ended."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from altub.cli import app as cli
from tests.conftest import SIDE

METRICS = {"image_auroc", "pixel_auroc", "aupro", "f1_max"}
TINY = ("--backbone", "filter-bank", "--image-size", str(SIDE), "--set", "batch_size=3", "--device", "cpu")


@dataclass
class Ended:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    def assert_refused(self, words: str) -> None:
        """Exit code 2 and one sentence or two on stderr: no traceback, nothing on stdout."""
        assert self.code == 2, self
        assert self.out == "" and "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if line and not line.startswith("Note: ")]
        assert len(lines) == 1 and lines[0].startswith("Error: "), self.err
        assert re.search(words, lines[0]), lines[0]


@pytest.fixture
def altub(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """`python -m altub ...` within this process."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["altub", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


@pytest.fixture
def weave(data_folder: Path) -> tuple[object, ...]:
    """Options of a training that takes a moment."""
    return ("--data", data_folder, "--category", "weave", *TINY, "--epochs", "1")
