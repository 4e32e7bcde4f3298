"""xz files: read as `lzma` does, within a bound on memory."""

from __future__ import annotations

import io
import lzma

import numpy as np
import pytest

from altub.data.xz import open_xz


def test_reading_and_seeking_give_the_content() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.bytes(30_000), bytes(200_000), b"", rng.bytes(5)]
    whole, padding = b"".join(parts), bytes(8)
    file = open_xz(io.BytesIO(b"".join(lzma.compress(part) + padding for part in parts)))
    assert file.read() == whole
    for _ in range(30):
        at, size = map(int, rng.integers(0, len(whole) + 10, 2))
        assert file.seek(at) == min(at, len(whole))
        assert file.read(size) == whole[at : at + size] and file.tell() == min(at + size, len(whole))


@pytest.mark.parametrize("harm", [lambda data: data[:-5], lambda data: data + b"\0", lambda data: data + b"abcd"])
def test_a_damaged_end_is_noticed(harm) -> None:
    with pytest.raises((EOFError, lzma.LZMAError)):
        open_xz(io.BytesIO(harm(lzma.compress(b"abc" * 1000)))).read()


def test_the_largest_preset_is_read_and_more_memory_is_not() -> None:
    assert open_xz(io.BytesIO(lzma.compress(b"abc", preset=9 | lzma.PRESET_EXTREME))).read() == b"abc"
    large = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 29}]
    with pytest.raises(lzma.LZMAError, match="limit"):
        open_xz(io.BytesIO(lzma.compress(b"abc", filters=large))).read()
