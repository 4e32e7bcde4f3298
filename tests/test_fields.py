"""Settings as their declaration says them, and a new field that appears everywhere by itself."""

from __future__ import annotations

import doctest
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ValidationError

import altub.fields
from altub.errors import ConfigError
from altub.fields import AUTOMATIC, GROUPS, Setting, setting, settings_of
from altub.training import fields
from altub.training.config import TrainingConfig, make_config


class Inner(BaseModel):
    hue: Literal["red", "blue"] = setting("red", "Hue", "Colour.", group="flow", choices={"red": "warm red"})


class Outer(BaseModel):
    inner: Inner = Inner()
    count: int = setting(3, "Count", "How many.", group="run", unit="pieces", basic=True, ge=1, le=9)
    rate: Annotated[float | None, AUTOMATIC] = setting(None, "Rate", "How fast.", group="run", automatic="usual", gt=0)
    stages: tuple[int, ...] = setting((1, 2), "Stages", "Which.", group="run")
    flips: tuple[Literal["h", "v"], ...] = setting((), "Flips", "Which.", group="run")
    loud: bool = setting(False, "Sound", "How loud.", group="run", choices={True: "loud", False: "quiet"})
    plain: int = 7


BY_NAME = {entry.name: entry for entry in settings_of(Outer)}


def test_example_in_the_docstring() -> None:
    assert doctest.testmod(altub.fields).failed == 0


def test_fields_are_listed_in_order_by_dotted_names() -> None:
    assert list(BY_NAME) == ["inner.hue", "count", "rate", "stages", "flips", "loud", "plain"]
    count = BY_NAME["count"]
    assert (count.kind, count.default, count.unit, count.level, count.range_text) == (
        "whole",
        3,
        "pieces",
        "basic",
        "1 to 9",
    )
    assert BY_NAME["inner.hue"].choices == {"red": "warm red", "blue": "blue"}
    assert BY_NAME["loud"].choices == {True: "loud", False: "quiet"} and BY_NAME["flips"].kind == "choices"
    assert BY_NAME["rate"].optional and BY_NAME["rate"].default_text == "auto" and "usual" in BY_NAME["rate"].help_text


def test_a_field_without_a_description_is_a_setting_all_the_same() -> None:
    plain = BY_NAME["plain"]
    assert (plain.title, plain.kind, plain.default, plain.group, plain.level) == (
        "Plain",
        "whole",
        7,
        "other",
        "advanced",
    )


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("count", " 4 ", 4),
        ("count", "four", "four"),
        ("rate", "1e-3", 1e-3),
        ("rate", "auto", None),
        ("rate", "none", None),
        ("stages", "1,3", (1, 3)),
        ("flips", "h, v", ("h", "v")),
        ("flips", "none", ()),
        ("loud", "yes", True),
        ("inner.hue", "none", "none"),
    ],
)
def test_text_becomes_a_value_of_the_fields_kind(name: str, text: str, value: object) -> None:
    assert BY_NAME[name].parse(text) == value
    if value not in ("four", "none"):
        assert BY_NAME[name].parse(BY_NAME[name].show(value)) == value


def test_a_list_of_numbers_is_refused_in_a_sentence() -> None:
    with pytest.raises(ConfigError, match="stages: whole numbers with commas"):
        BY_NAME["stages"].parse("1,b")


def test_auto_is_none_in_the_model() -> None:
    assert Outer(rate="auto").rate is None and Outer(rate=2).rate == 2
    with pytest.raises(ValidationError):
        Outer(rate="fast")
    published = make_config("fastflow-resnet18", category="c", lr="auto", stages="auto", base={"lr": "auto"})
    assert (published.lr, published.stages, published.base.lr) == (None, None, None)


@pytest.mark.parametrize("entry", fields.all_settings(), ids=lambda entry: entry.name)
def test_every_setting_of_a_training_is_described(entry: Setting) -> None:
    assert entry.help.endswith(".") and entry.group in GROUPS and entry.group != "other"
    assert 1 <= len(entry.title.split()) <= 3 and entry.title[0].isupper()
    if entry.kind in ("choice", "choices", "switch"):
        assert all(isinstance(title, str) and title for title in entry.choices.values())
    assert entry.optional == bool(entry.automatic)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("norm", "Did you mean flow.norm"),
        ("base.intervall", "Did you mean base.interval"),
        ("epoch", "epochs"),
        ("lrs", "Did you mean lr"),
        ("flow", "Name one setting of flow: flow.kind"),
        ("x.y", "`altub settings` lists them all"),
    ],
)
def test_a_wrong_name_gets_the_nearest_ones(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fields.find_setting(name)


def test_a_new_field_appears_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    class Larger(TrainingConfig):
        ripeness: int = setting(3, "Ripeness", "How ripe the fruit is.", group="data", ge=0, le=5)

    monkeypatch.setattr(fields, "all_settings", lambda: tuple(settings_of(Larger)))
    assert fields.parse_pairs(["ripeness=4"]) == {"ripeness": 4}
    assert "ripeness" in [entry.name for entry in fields.settings_by_group()["data"]]
    assert "| `ripeness` | `3` | 0 to 5 | How ripe the fruit is. |" in fields.markdown_table()
    assert fields.as_rows()[-1]["name"] == "ripeness"
