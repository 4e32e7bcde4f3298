"""Where the images of a training come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from altub.errors import AltUBError, ConfigError
from altub.ui.train.data_source import MVTEC, OWN, SAMPLE, category_choices, find_category
from altub.ui.train.data_views import preview
from tests.conftest import write_category


def test_mvtec_is_found_in_both_places(data: Path) -> None:
    assert category_choices(MVTEC) == []
    write_category(data / "mvtec/screw")
    write_category(data / "bottle")
    assert [value for _, value in category_choices(MVTEC)] == ["bottle", "screw"]
    assert find_category(MVTEC, "screw").data == str(data / "mvtec")
    assert find_category(MVTEC, "bottle").data == str(data)


def test_folders_are_named_only_where_that_is_allowed(data: Path, tmp_path: Path) -> None:
    write_category(tmp_path / "parts/weave")
    folder = str(tmp_path / "parts")
    assert category_choices(OWN, folder, True) == [("weave", "folder:weave")]
    choice = find_category(OWN, "folder:weave", folder, True)
    assert (choice.data, choice.category) == (folder, "weave")
    with pytest.raises(ConfigError, match="own machine"):
        category_choices(OWN, folder, False)
    with pytest.raises(ConfigError, match="own machine"):
        find_category(OWN, "folder:weave", folder, False)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        (SAMPLE, "../bottle"),
        (SAMPLE, None),
        (MVTEC, "uploads"),
        (OWN, "upload:../.."),
        (OWN, 3),
        ("?", "x"),
        (OWN, ["upload:a"]),
    ],
)
def test_what_is_not_offered_is_refused(source: str, value: Any, data: Path) -> None:
    with pytest.raises(AltUBError):
        find_category(source, value, "", True)


def test_preview_counts_and_survives_a_broken_file(data: Path) -> None:
    folder = write_category(data / "bottle", good=9, tested=3)
    (folder / "train/good/000.png").write_bytes(b"broken")
    html = preview(find_category(MVTEC, "bottle").load())
    assert "9 for training" in html and "3 for testing, with 3 good ones" in html
    assert html.count("cannot be read") == 1
    assert html.count("data:image/webp") == 8
    assert str(data) not in html
