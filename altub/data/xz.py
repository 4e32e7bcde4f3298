"""xz files read with a bound on the memory that decompression takes, which the file itself asks for."""

from __future__ import annotations

import io
import lzma
import os
from typing import BinaryIO

__all__ = ["MOST_MEMORY", "open_xz"]

MOST_MEMORY = 128 << 20  # bytes; `xz -9`, the most that its presets ask for, takes 65 MiB
_CHUNK = 64 << 10
_ALIGNMENT = 4  # streams are padded by zeros to a multiple of this


def open_xz(raw: BinaryIO, most_memory: int = MOST_MEMORY) -> BinaryIO:
    """What is in an xz file of one or more streams, to be read and sought in; seeking back begins anew.

    Reading raises lzma.LZMAError where the file is damaged or asks for more memory, and EOFError where it is cut off.

    Example:
        >>> open_xz(io.BytesIO(lzma.compress(b"abc"))).read()
        b'abc'
    """
    return io.BufferedReader(_XZReader(raw, most_memory), _CHUNK)


class _XZReader(io.RawIOBase):
    """`lzma.LZMAFile` takes no limit for the memory; otherwise this is the same."""

    def __init__(self, raw: BinaryIO, most_memory: int) -> None:
        self._raw, self._most_memory = raw, most_memory
        self._rewind()

    def _rewind(self) -> None:
        self._raw.seek(0)
        self._position, self._rest = 0, b""  # of what comes out; compressed bytes that were not used yet
        self._decompressor = self._new()

    def _new(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=self._most_memory)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _next(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        while True:
            if self._decompressor.eof and not self._begin_next_stream():
                return b""
            data = b""
            if self._decompressor.needs_input:
                data = self._rest or self._raw.read(_CHUNK)
                self._rest = b""
                if not data:
                    raise EOFError("the xz file is cut off")
            if found := self._decompressor.decompress(data, size):
                return found

    def _begin_next_stream(self) -> bool:
        """False where nothing but padding follows."""
        rest = self._decompressor.unused_data
        padding = 0
        while True:
            stripped = rest.lstrip(b"\0")
            padding += len(rest) - len(stripped)
            if stripped:
                break
            rest = self._raw.read(_CHUNK)
            if not rest:
                break
        if padding % _ALIGNMENT:
            raise lzma.LZMAError("wrong padding")
        if not stripped:
            return False
        self._rest, self._decompressor = stripped, self._new()
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            while self.read(_CHUNK):
                pass
            offset += self._position
        if offset < self._position:
            self._rewind()
        while self._position < offset and self.read(min(_CHUNK, offset - self._position)):
            pass
        return self._position
