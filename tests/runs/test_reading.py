"""What a reader sees while another process writes, and when files are damaged."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from altub.errors import RunError
from altub.runs.run import Run, Status
from altub.training.config import make_config
from altub.training.records import EpochRecord

CONFIG = make_config(category="weave", epochs=4)


def test_a_reader_never_sees_half_a_status_or_history(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    done = threading.Event()

    def write() -> None:
        for epoch in range(1, 150):
            run.write_status(Status(state="stopped", epoch=epoch, message="x" * (epoch * 97 % 5000)))
            values = np.full((epoch, 4), epoch, np.float32)
            run.write_base_history([(values, values)] * 2)
        done.set()

    writer = threading.Thread(target=write)
    run.write_status(Status(state="stopped", epoch=1))
    writer.start()
    looks, last = 0, 1
    while not done.is_set():
        status = run.read_status()
        assert status.state == "stopped" and len(status.message) in (0, status.epoch * 97 % 5000)
        assert status.epoch >= last, "never an older one"
        last = status.epoch
        for mean, log_std in run.base_history():
            assert len(mean) == len(log_std) == mean[0, 0]
        looks += 1
    writer.join()
    assert looks > 10


# Damaged files.


def test_half_a_line_of_events_is_left_out(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    for epoch in (1, 2):
        run.append_event(EpochRecord(epoch=epoch, loss=0.1 + epoch))
    whole = (run.path / "events.jsonl").read_bytes()
    for cut in range(1, len(whole)):
        (run.path / "events.jsonl").write_bytes(whole[:cut])
        epochs = [event.epoch for event in run.events()]
        assert epochs == [1, 2][: whole[: cut + 1].count(b"\n")], f"cut at {cut}"
    (run.path / "events.jsonl").write_bytes(whole[:-7])
    run.keep_events(1)
    run.append_event(EpochRecord(epoch=2, loss=2.1))
    assert [event.epoch for event in run.events()] == [1, 2], "what follows half a line is whole again"


def test_rubbish_among_the_events_is_left_out(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    (run.path / "events.jsonl").write_bytes(b'{"epoch": 1}\n\xff\xfe\0\n[3]\n7\n{"loss": 1}\n{"epoch": 2}\n')
    assert run.events() == [EpochRecord(epoch=1), EpochRecord(epoch=2)]
    run.keep_events(1)
    assert (run.path / "events.jsonl").read_text() == '{"epoch": 1}\n'


def test_events_keep_every_bit_through_a_resume(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    events = [EpochRecord(epoch=k, loss=1 / (3 * k), test=None) for k in range(1, 5)]
    for event in events:
        run.append_event(event)
    run.keep_events(3)
    assert run.events() == events[:3]
    with pytest.raises(ValueError, match="JSON"):
        run.append_event(EpochRecord.model_construct(epoch=4, loss=float("nan")))
    assert run.events() == events[:3]


def history(epochs: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [tuple(rng.normal(size=(epochs, channels)).astype(np.float32) for _ in "ms") for channels in (4, 8, 2)]


def test_base_history_round_trip(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    written = history(5)
    run.write_base_history(written)
    assert len(run.base_history()) == 3
    for read, wrote in zip(run.base_history(), written, strict=True):
        for a, b in zip(read, wrote, strict=True):
            np.testing.assert_array_equal(a, b)


def test_damaged_base_history_counts_as_none(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    run.write_base_history(history(5))
    path = run.path / "base_history.npz"
    whole = path.read_bytes()
    assert run.base_history()
    for cut in range(0, len(whole), 41):
        path.write_bytes(whole[:cut])
        assert run.base_history() == [], f"cut at {cut}"
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF
    path.write_bytes(flipped)
    assert run.base_history() == []
    for rubbish in (b"\x93NUMPY\x01\x00", b"rubbish" * 100):
        path.write_bytes(rubbish)
        assert run.base_history() == []


def test_base_history_is_never_unpickled(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    np.savez(run.path / "base_history.npz", head0_mean=np.array([{"a": 1}], object), head0_log_std=np.zeros((1, 1)))
    assert run.base_history() == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"state": "flying"}', b'{"epoch": "many"}', b"\xff\xfe"])
def test_damaged_status_is_said(tmp_path: Path, content: bytes) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    (run.path / "status.json").write_bytes(content)
    assert run.read_status().message == "status.json is missing or damaged."
    assert run.status.state == "interrupted"


def test_a_status_of_a_later_version_is_read(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    (run.path / "status.json").write_text(json.dumps({"state": "finished", "epoch": 3, "mood": "good"}))
    assert run.status.state == "finished" and run.status.epoch == 3


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"category": "a", "epochs": 0}', b"\xff\xfe"])
def test_damaged_config_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    run = Run.create(tmp_path / "r", CONFIG)
    (run.path / "config.json").write_bytes(content)
    with pytest.raises(RunError, match=r"config\.json of run r") as caught:
        _ = run.config
    assert "\n" not in str(caught.value)
