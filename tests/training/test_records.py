"""A line of events.jsonl: the form on disk, what is passed over, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from altub.hub.history import pack_history, unpack_history
from altub.metrics import Metrics
from altub.runs.run import Run
from altub.training.records import EpochRecord, best_record, curve, parse_records

SAVED = sorted((Path(__file__).parents[1] / "compatibility/v0.1.0/runs").glob("*/events.jsonl"))


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.parent.name)
def test_lines_of_0_1_0_come_back_byte_for_byte(path: Path) -> None:
    text = path.read_text()
    records = [record for _, record in parse_records(text)]
    assert len(records) == text.count("\n") >= 2
    assert "".join(record.line() for record in records) == text
    assert all(record.heads == len(record.loss_heads) and record.test.pixel_auroc > 0.5 for record in records)
    assert [record.base_trained for record in records][:2] == [False, True]


def test_a_new_line_has_the_keys_of_an_old_one(trained_run: Run) -> None:
    new, old = (
        json.loads(path.read_text().splitlines()[line])
        for path, line in ((trained_run.path / "events.jsonl", 1), (SAVED[0], 0))
    )
    assert list(new) == list(old)
    assert [name for name in new["test"] if name != "aupimo"] == list(old["test"]), "what came later is beside them"
    assert [list(head["mean"]) for head in new["base"]] == [list(head["mean"]) for head in old["base"]]


def test_what_a_later_version_adds_is_passed_over_and_kept_on_disk(tmp_path: Path) -> None:
    run = Run(tmp_path)
    lines = ['{"epoch":1,"mood":"good","test":{"aupro":0.5,"new":[1]}}', '{"epoch": 2, "mood": "bad"}']
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    assert run.events() == [EpochRecord(epoch=1, test=Metrics(aupro=0.5)), EpochRecord(epoch=2)]
    run.keep_events(1)
    assert (tmp_path / "events.jsonl").read_text() == lines[0] + "\n"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "null",
        '{"loss": 1}',
        '{"epoch": -1}',
        '{"epoch": 100001}',
        '{"epoch": null}',
        '{"epoch": 1, "loss": NaN}',
        '{"epoch": 1, "held_out": Infinity}',
        '{"epoch": 1, "test": {"pixel_auroc": NaN}}',
        '{"epoch": 1, "phase": "<b>"}',
        '{"epoch": 1, "base": [{"mean": {"q50": 1}}]}',
        '{"epoch": 1, "loss_heads": ["<b>"]}',
    ],
)
def test_damaged_lines_are_left_out(line: str) -> None:
    assert [record for _, record in parse_records(f'{{"epoch": 3}}\n{line}\n{{"epoch": 4}}\n')] == [
        EpochRecord(epoch=3),
        EpochRecord(epoch=4),
    ]
    history = f'{{"version": 1, "events": [{line or "{}"}]}}'.encode()
    assert unpack_history(history) is None, "from the Hub such a history is refused as a whole"


def test_a_record_from_the_hub_says_its_phase() -> None:
    assert unpack_history(b'{"version": 1, "events": [{"epoch": 1}]}') is None
    history = unpack_history(b'{"version": 1, "events": [{"epoch": 1, "phase": "both", "more": "<b>"}]}')
    assert [event.line() for event in history.events] == ['{"epoch": 1, "phase": "both"}\n']


def test_a_packed_history_gives_the_same_lines(trained_run: Run, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.replace_events(unpack_history(pack_history(trained_run)).events)
    assert (tmp_path / "events.jsonl").read_bytes() == (trained_run.path / "events.jsonl").read_bytes()


def test_values_are_found_by_name() -> None:
    record = EpochRecord(epoch=1, loss=1.5, test=Metrics(pixel_auroc=0.9))
    assert (record.value("loss"), record.value("held_out"), record.value("pixel_auroc")) == (1.5, None, 0.9)
    assert EpochRecord(epoch=1).value("aupro") is None
    with pytest.raises(KeyError):
        record.value("epoch")
    assert curve([record, EpochRecord(epoch=2), EpochRecord(epoch=3, loss=1)], "loss") == [(1, 1.5), (3, 1.0)]


def test_the_best_epoch_is_the_first_of_the_best() -> None:
    values = [0.5, 0.9, None, 0.9]
    records = [EpochRecord(epoch=k, test=Metrics(pixel_auroc=value)) for k, value in enumerate(values, 1)]
    assert best_record(records).epoch == 2
    assert best_record([EpochRecord(epoch=1)]) is None


def test_a_record_cannot_hold_what_cannot_be_written() -> None:
    with pytest.raises(ValidationError):
        EpochRecord(epoch=1, loss=float("nan"))
    with pytest.raises(ValidationError):
        Metrics(aupro=float("inf"))
