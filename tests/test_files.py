"""Whole files or nothing."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from altub import files
from altub.errors import AltUBError, DiskFullError
from altub.files import explain_full_disk, read_json, replacing, write_atomically, write_json


def failing(number: int):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_content_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for content in (b"first, and longer", b"second", b""):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"], "no temporary file stays"


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"x")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("step", ["fsync", "replace", "fdopen"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "a.bin"
    write_atomically(path, b"old")
    monkeypatch.setattr(files.os, step, failing(errno.ENOSPC))
    with pytest.raises(DiskFullError, match=r"a\.bin could not be written") as caught:
        write_atomically(path, b"new")
    assert str(tmp_path) in str(caught.value), "says where room is needed"
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]


def test_a_killed_writer_leaves_the_old_file_and_no_half_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    write_atomically(tmp_path / "a", b"old")
    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", b"new")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a": b"old"}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_may_not_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(files.os, "replace", failing(number))
    with pytest.raises(AltUBError, match="permission denied, or the disk is read-only") as caught:
        write_atomically(tmp_path / "a", b"x")
    assert not isinstance(caught.value, DiskFullError)


def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(InterruptedError), explain_full_disk(tmp_path / "a"):
        raise InterruptedError(errno.EINTR, "interrupted")


def test_json_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    value = {"score": 0.1 + 0.2, "tiny": 5e-324, "words": "Prüfteil", "none": None, "list": [1, 2.5, True]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [-float("inf")]])
def test_json_that_others_cannot_read_is_refused(tmp_path: Path, value: object) -> None:
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == 1


def test_damaged_json_is_an_error_of_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"half": ')
    with pytest.raises(json.JSONDecodeError):
        read_json(tmp_path / "a.json")


def test_a_stream_replaces_the_file_only_when_it_ended_well(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomically(path, b"old")
    with pytest.raises(ValueError, match="half way"), replacing(path) as file:
        file.write(b"new")
        raise ValueError("half way")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a": b"old"}
    with replacing(path) as file:
        file.write(b"ne")
        assert path.read_bytes() == b"old"
        file.write(b"w")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a": b"new"}
