"""Hostile run folders: a finished run in which one or two files were changed."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.fuzz.mutations import damaged_bytes, damaged_json, generator, hostile_json_text, pick

__all__ = ["hostile_runs"]

JSON_FILES = (
    "config.json",
    "status.json",
    "data.json",
    "model/config.json",
    "examples/examples.json",
    "model/training.json",
    "remote.json",
)
ARCHIVES = ("base_history.npz", "examples/epoch_00004.npz")
FILES = (*JSON_FILES, *ARCHIVES, "events.jsonl", "checkpoint/state.safetensors", "model/model.safetensors")
ODD_NAMES = ("epoch_4.npz", "epoch_-0001.npz", "epoch_one.npz", "epoch_\u0664.npz", "epoch_99999.npz")  # of heatmaps
LINK = {
    **{"repo": "someone/part", "job": "1", "namespace": "someone", "url": "https://hf.invalid/jobs/1", "attempt": "a"},
    **{"flavor": "cpu-basic", "timeout": "1h", "data": {"kind": "sample"}},
}
Change = Callable[[np.random.Generator, Path], None]


def hostile_runs(seed: int, count: int, run: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """(what was done, the runs folder that holds it and nothing else) of `count` copies of `run` below `folder`."""
    for number in range(count):
        rng = generator(seed, number)
        root = folder / str(number)
        copy = shutil.copytree(run, root / f"run-{number}")
        done = []
        for _ in range(int(rng.integers(1, 3))):
            name = pick(rng, FILES)
            file = copy / name
            if not file.exists():
                file.parent.mkdir(exist_ok=True)
                file.write_text(json.dumps(LINK) if name == "remote.json" else "{}")
            if not file.is_file():
                continue
            change = _change(rng, name)
            if name == "examples/epoch_00004.npz" and rng.random() < 0.2:
                file = file.rename(file.with_name(pick(rng, ODD_NAMES)))
            change(rng, file)
            done.append(f"{name}: {change.__name__.strip('_')}")
        yield f"run {number} ({', '.join(done)})", root


def _change(rng: np.random.Generator, name: str) -> Change:
    if rng.random() < 0.15:
        return pick(rng, (_gone, _folder, _link_to_itself, _empty, _pipe))
    if name in JSON_FILES:
        return _json
    if name == "events.jsonl":
        return _lines
    if name in ARCHIVES and rng.random() < 0.6:
        return _arrays
    return _bytes


def _gone(rng: np.random.Generator, file: Path) -> None:
    file.unlink()


def _folder(rng: np.random.Generator, file: Path) -> None:
    file.unlink()
    file.mkdir()
    (file / "a").write_bytes(b"1")


def _link_to_itself(rng: np.random.Generator, file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def _pipe(rng: np.random.Generator, file: Path) -> None:
    """Opening it as if it were a file waits for a writer, forever."""
    file.unlink()
    os.mkfifo(file)


def _empty(rng: np.random.Generator, file: Path) -> None:
    file.write_bytes(b"")


def _json(rng: np.random.Generator, file: Path) -> None:
    file.write_bytes(hostile_json_text(rng, file.read_bytes()))


def _bytes(rng: np.random.Generator, file: Path) -> None:
    file.write_bytes(damaged_bytes(rng, file.read_bytes()))


def _lines(rng: np.random.Generator, file: Path) -> None:
    lines = [line for line in file.read_bytes().splitlines() if line]
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(lines)))
        try:
            value = json.loads(lines[at])
        except (ValueError, RecursionError):  # changed already
            continue
        lines[at] = pick(
            rng,
            (
                json.dumps(damaged_json(rng, value)).encode("utf-8", "surrogatepass"),
                json.dumps(damaged_json(rng, value)).encode("utf-8", "surrogatepass"),
                damaged_bytes(rng, lines[at]),
                b"[" * 100_000,
                lines[at] + b"\n" + lines[at],
            ),
        )
    file.write_bytes(b"\n".join(lines))


def _arrays(rng: np.random.Generator, file: Path) -> None:
    """An archive of arrays whose checksums fit and whose headers or arrays do not."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = pick(rng, members)
    match int(rng.integers(8)):
        case 0:
            members[name] = _npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 9)}")
        case 1:
            members[name] = _npy_header("(" * 3000)
        case 2:
            members[name] = _npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}")
        case 3:
            members[name] = _npy(np.full((3, 5, 2), np.nan))
        case 4:
            del members[name]
        case 5:
            members[name] = _npy(np.array(["text"]))
        case 6:
            members[name] = damaged_bytes(rng, members[name])
        case _:
            members[name] = b"no array"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", pick(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))) as out:
        for member, content in members.items():
            out.writestr(member, content)
    file.write_bytes(buffer.getvalue())


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _npy_header(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
