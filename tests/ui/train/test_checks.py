"""The form says what is wrong beside the field, before a training is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from altub.runs.launchers.base import LocalLauncher
from altub.training.config import make_config
from altub.ui.services import Services
from altub.ui.train.checks import WRONG, FormChecks, find_problems
from altub.ui.train.data_source import MVTEC, SAMPLE
from altub.ui.train.form_values import form_settings, values_of
from tests.conftest import write_category

NAMES = [entry.name for entry in form_settings()]


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What `FormChecks.look` changes for these values: the line above the button, and updates by setting."""
    monkeypatch.setenv("ALTUB_DATA", str(tmp_path / "data"))
    write_category(tmp_path / "data/mvtec/bottle")
    write_category(tmp_path / "data/mvtec/screw", good=3)
    checks = FormChecks(dict.fromkeys(NAMES, "help"), is_local=True)
    start = values_of(make_config("quick-look", category="any", backbone="filter-bank"))

    def look(category: str | None = "bottle", marked: tuple[str, ...] = (), **changed: Any):
        values = {**start, **changed}.values()
        line, now, *updates = checks.look(list(marked), MVTEC, category, "", "quick-look", *values)
        touched = {n: u for n, u in zip(NAMES, updates, strict=True) if set(u) != {"__type__"}}
        return line, now, touched

    return look


def test_a_sound_form_says_what_it_takes(look) -> None:
    line, marked, touched = look()
    assert "minute" in line and "GB of memory" in line and marked == [] and touched == {}


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("image_size", 100, "multiples of 16"),
        ("image_size", 7, "greater than or equal to 32"),
        ("epochs", 0, "greater than or equal to 1"),
        ("flow.steps", 500, "less than or equal to 64"),
        ("backbone", "nonsense", "no backbone"),
        ("device", "cuda:77", "GPU"),
        ("regions", "[[", "Regions: this is no JSON, see its end"),
        ("regions", '[{"kind": "ignore", "points": [[0, 0], [1, 1]]}]', "at least 3"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(look, setting: str, value: Any, words: str) -> None:
    line, marked, touched = look(**{setting: value})
    assert marked == [setting] and set(touched) == {setting}
    assert words in touched[setting]["info"] and touched[setting]["elem_classes"] == [WRONG]
    assert "Correct the marked field first" in line
    line, marked, touched = look(marked=(setting,))  # corrected
    assert marked == [] and touched[setting]["info"] == "help" and touched[setting]["elem_classes"] == []


def test_the_sample_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALTUB_DATA", str(tmp_path))
    values = values_of(make_config("quick-look", category="any", backbone="filter-bank")).values()
    problems, outlook = find_problems(SAMPLE, "fabric", "quick-look", *values)
    assert problems == [] and outlook is not None and not list(tmp_path.iterdir())


def test_limits_of_the_owner_are_said_beside_the_field(look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALTUB_MAX_EPOCHS", "5")
    _, marked, touched = look()
    assert marked == ["epochs"] and "at most 5 epochs" in touched["epochs"]["info"]


def test_what_is_wrong_with_the_images_is_said_above_the_button(look) -> None:
    line, marked, touched = look("screw")
    assert "3 good images are too few" in line and marked == [] and touched == {}
    assert look(None)[0] == ""
    assert "no longer there" in look("gone")[0]


def test_whoever_looks_at_the_form_makes_a_process_ready(tmp_path: Path) -> None:
    class Counting(LocalLauncher):
        prepared = 0

        def prepare(self) -> None:
            self.prepared += 1

    launcher = Counting()
    checks = FormChecks(dict.fromkeys(NAMES), is_local=True, expect=Services(launcher).expect_training)
    checks.look([], MVTEC, None, "", "quick-look")
    assert launcher.prepared == 1
    Services().expect_training()  # nothing trains here but what a run says itself
