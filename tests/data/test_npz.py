"""npz files are read within bounds."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from altub.data.npz import read_npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_wrote_comes_back(tmp_path: Path, save) -> None:
    arrays = {
        "maps": np.arange(24, dtype=np.float16).reshape(2, 3, 4),
        "low": np.float64(0.5),
        "flags": np.array([True]),
    }
    save(tmp_path / "a.npz", **arrays)
    found = read_npz(tmp_path / "a.npz", most_bytes=2000)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype and found[name].flags.writeable


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", maps=np.zeros(10_000_000, np.uint8))
    assert (tmp_path / "a.npz").stat().st_size < 20_000
    for most_bytes in (100_000, None):
        with pytest.raises(ValueError, match="damaged"):
            read_npz(tmp_path / "a.npz", most_bytes=most_bytes)


def test_more_than_its_bytes_or_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{str(k): np.zeros(10) for k in range(20)})
    with pytest.raises(ValueError, match="more than 1,000 bytes"):
        read_npz(tmp_path / "a.npz", most_bytes=1000)
    with pytest.raises(ValueError, match="damaged"):
        read_npz(tmp_path / "a.npz", most_arrays=19)


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([b"1"]), np.asfortranarray(np.ones((3, 2)))])
def test_only_arrays_of_numbers_are_read(tmp_path: Path, array: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", a=array)
    with pytest.raises(ValueError, match="damaged"):
        read_npz(tmp_path / "a.npz")


def test_other_compressions_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.ones(3))
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        content = archive.read("a.npy")
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(ValueError, match="damaged"):
        read_npz(tmp_path / "b.npz")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(OSError, match="pipe"):
        read_npz(tmp_path / "a.npz")
