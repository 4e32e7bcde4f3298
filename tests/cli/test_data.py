"""The commands `categories` and `download`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from altub.cli import data
from tests.cli.conftest import Ended


def test_categories_are_one_name_a_line(altub, data_folder: Path) -> None:
    assert altub("categories", "--data", data_folder) == Ended(0, "weave\n", "")


def test_categories_have_counts_on_a_terminal(altub, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "on_terminal", lambda: True)
    out = altub("categories", "--data", data_folder).out
    assert re.match(r"weave +12 ", out) and "4" in out and out.count("\n") == 1


@pytest.mark.parametrize("content", [None, "empty", "text"])
def test_categories_of_nothing_are_refused(altub, tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "data"
    if content:
        folder.mkdir()
    if content == "text":
        (folder / "readme.txt").write_text("no images here")
    altub("categories", "--data", folder).assert_refused(
        "does not exist" if content is None else "No images were found"
    )


def test_a_download_without_consent_names_the_flag(altub, tmp_path: Path) -> None:
    ended = altub("download", "bottle", "--data", tmp_path)
    ended.assert_refused("CC BY-NC-SA 4.0.*--accept-licence")
    assert not list(tmp_path.iterdir())


def test_an_interrupt_elsewhere_is_130(altub, monkeypatch: pytest.MonkeyPatch, data_folder: Path) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("altub.data.list_categories", interrupt)
    ended = altub("categories", "--data", data_folder)
    assert ended.code == 130 and "Traceback" not in ended.err
