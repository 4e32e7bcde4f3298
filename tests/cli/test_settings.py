"""Every setting can be reached from the command line, by `--set`, and is listed by `altub settings`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from altub.cli import train
from altub.fields import Setting
from altub.runs.run import Run, Status
from altub.training.config import make_config
from altub.training.fields import all_settings, markdown_table, value_of
from tests.conftest import REPOSITORY

NAMES = [entry.name for entry in all_settings()]


LEAST = {"cross_folds": "2", "tile": "256"}


def another_value(entry: Setting, current: Any) -> str:
    """What could be typed for a setting to change it."""
    if entry.kind == "choices":
        return next(iter(entry.choices))
    if entry.kind == "choice":
        return next(value for value in entry.choices if value != current)
    if entry.kind == "switch":
        return str(not current).lower()
    if entry.kind == "wholes":
        return "1,2"
    if entry.name in LEAST:  # 0 is off, and a little more is refused
        return LEAST[entry.name]
    if entry.name == "regions":
        return '[{"kind": "ignore", "points": [[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]]}]'
    if entry.kind == "json":
        return '{"depth": 3}'
    if entry.kind == "text":
        return "weave"
    factor = entry.bounds.get("multiple_of", 1)
    low, high = entry.bounds.get("ge", entry.bounds.get("gt", 0)), entry.bounds.get("le", 1000)
    return str(factor + (current or low) if entry.kind == "whole" else (low + min(high, 2 * low + 1)) / 2.25)


@pytest.mark.parametrize("entry", all_settings(), ids=NAMES)
def test_every_setting_can_be_set(altub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Setting) -> None:
    monkeypatch.setattr(train, "_train", lambda run, *_: run.write_status(Status(state="finished")))
    before = make_config(category="c", flow={"kind": "cflow"} if entry.flows == ("cflow",) else {})
    text = another_value(entry, value_of(before, entry.name))
    command = ["train", "--run-dir", tmp_path / "r", "--quiet", "--flow", before.flow.kind, "--data", "sample"]
    if entry.name == "data":
        command, text = command[:-2], "sample"
    ended = altub(*command, "--category", "c", "--set", f"{entry.name}={text}")
    assert ended.code == 0, ended.err
    value, given = value_of(Run.open(tmp_path / "r").config, entry.name), entry.parse(text)
    assert entry.show(value) == entry.show(given) if entry.kind == "json" else value == given


@pytest.mark.parametrize(
    ("flags", "pair"),
    [
        (("--norm", "channel"), "flow.norm=channel"),
        (("--norm=channel",), "flow.norm=channel"),
        (("--on-top",), "base.on_top=true"),
        (("--strict",), "base.joint=false"),
        (("--base-lr", "0.1"), "base.lr=0.1"),
        (("--lr", "1e-3"), "lr=1e-3"),
        (("--held-out", "--json"), "held_out=VALUE"),
        (("--warmup", "3"), "base.warmup=3"),
    ],
)
def test_former_flags_say_what_to_type(altub, tmp_path: Path, flags: tuple[str, ...], pair: str) -> None:
    ended = altub("train", "--run-dir", tmp_path / "r", "--category", "c", *flags)
    ended.assert_refused(f"no flag {flags[0].partition('=')[0]}: use --set {pair}\\.")


def test_readings_say_what_they_are_called_today(altub, tmp_path: Path) -> None:
    ended = altub("train", "--run-dir", tmp_path / "r", "--category", "c", "--reading", "A")
    ended.assert_refused("use --base-update with one of author-tabular, public-fastflow, strict")


def test_settings_are_listed(altub) -> None:
    out = altub("settings").out
    rows = json.loads(altub("settings", "--json").out)
    table = altub("settings", "--markdown").out
    assert [row["name"] for row in rows] == NAMES
    for row in rows:
        assert f"  {row['name']} " in out and f"| `{row['name']}` | " in table
        assert row["help"] and row["title"] and row["group"] != "other"
    base = json.loads(altub("settings", "base", "--json").out)
    assert base == [row for row in rows if row["name"].startswith("base.")]
    altub("settings", "bases").assert_refused("no group 'bases'")


def test_the_documentation_has_the_table() -> None:
    """Renew it with `python -m altub settings --markdown`."""
    page = (REPOSITORY / "docs/cli.md").read_text(encoding="utf-8")
    assert f"<!-- settings -->\n{markdown_table()}\n<!-- /settings -->" in page
