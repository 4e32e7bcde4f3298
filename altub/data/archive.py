"""Unpacks untrusted archives: regular files only, only below the target, and within bounds.

Members with absolute paths, with ``..``, links of either kind and devices make the whole archive refused, also when
the member is not wanted: an archive that contains one is not what it says it is. It is read to its end, so that the
checksums of gzip, bzip2 and xz are verified, and it must have an end: one that was cut off between two members is
damaged too.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from altub.data.fetch import FetchError
from altub.data.xz import open_xz
from altub.files import explain_full_disk

__all__ = ["MAX_BYTES", "MAX_MEMBERS", "extract"]

#: Bounds on what one archive may unpack to; MVTec AD has 6,700 files of 5.3 GB in all.
MAX_BYTES = 16 << 30
MAX_MEMBERS = 50_000

_CHUNK = 1 << 20
_MAX_PART = 255  # bytes of a file's or a folder's name: what file systems take
_MAX_PATH = 1024  # bytes of a member's path
_MAX_TAR_HEADER = 32 << 10  # bytes of all headers of one member: tarfile needs 600 times as much memory for them
_MAX_GLOBAL_HEADERS = 64  # of a tar; they are copied for each member
_MAX_ZIP_DIRECTORY = 8 << 20  # bytes of the directory of a zip
_END = bytes(tarfile.BLOCKSIZE)  # a tar ends with empty blocks

# RuntimeError is what zipfile raises for a password; NotImplementedError, one of them, for an unknown compression.
# ValueError and OverflowError come from numbers and names in headers that no archiver writes.
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error),
    *(EOFError, RuntimeError, ValueError, OverflowError),
)
_BAD_NAME = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}


def extract(
    archive: Path,
    into: Path,
    place: Callable[[PurePosixPath], PurePosixPath | None],
    *,
    max_bytes: int = MAX_BYTES,
    max_members: int = MAX_MEMBERS,
    watch: Callable[[int, int], None] | None = None,
) -> int:
    """Unpack a tar (plain, gz, bz2, xz) or zip file below ``into``; return the number of its members.

    Args:
        archive: the file; what it is follows from its content.
        into: an existing folder.
        place: from a member's path to the path below ``into``, or None where it is not wanted.
        max_bytes, max_members: more is refused, counted as it is unpacked and not as the archive declares it.
        watch: called with the position in the archive and its size in bytes.

    Raises:
        FetchError: damaged, not an archive, unsafe or out of bounds. What was unpacked so far is left to the caller.
        DiskFullError: there is no room.
    """
    into = into.resolve()
    written = count = 0
    size = archive.stat().st_size
    try:
        with explain_full_disk(into), archive.open("rb") as raw:
            members = _zip_members(raw) if zipfile.is_zipfile(archive) else _tar_members(raw, into, max_bytes)
            for name, is_file, open_member in members:
                count += 1
                if count > max_members:
                    raise FetchError(f"the archive has more than {max_members:,} members")
                path = _safe(name)
                goal = place(path) if is_file else None
                if goal is None:
                    continue
                target = into / _safe(str(goal))
                if not target.resolve().is_relative_to(into):
                    raise FetchError(f"the archive wants to write outside its folder ({_short(name)})")
                target.parent.mkdir(parents=True, exist_ok=True)
                with open_member() as source, target.open("wb") as file:
                    while chunk := source.read(_CHUNK):
                        written += len(chunk)
                        if written > max_bytes:
                            raise _too_large(max_bytes)
                        file.write(chunk)
                if watch is not None:
                    watch(min(raw.tell(), size), size)
    except _DAMAGED as error:
        if isinstance(error, lzma.LZMAError) and "limit" in str(error):
            raise FetchError("the archive asks for too much memory: pack it by `xz -9` at most") from error
        raise FetchError("the file is no archive, or a damaged one") from error
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise FetchError("the archive has a file and a folder of the same name") from error
    except OSError as error:
        if error.errno is None:  # so do the gzip and bzip2 readers report damaged data
            raise FetchError("the file is no archive, or a damaged one") from error
        if error.errno in _BAD_NAME:
            raise FetchError("the archive has a file name that cannot be used on this disk") from error
        raise
    return count


class _Bounded:
    """A file to read whose reads add up to ``budget`` bytes at most; None: no bound."""

    def __init__(self, file: BinaryIO, budget: int | None) -> None:
        self._file, self.budget, self.last = file, budget, b""

    def read(self, n: int = -1) -> bytes:
        if self.budget is None:
            return self._file.read(n)
        self.last = self._file.read(self.budget + 1 if n < 0 else min(n, self.budget + 1))
        self.budget -= len(self.last)
        if self.budget < 0:
            raise FetchError("the archive has headers that are too long")
        return self.last

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


def _decompressed(raw: BinaryIO) -> BinaryIO:
    """The tar in a file, by the file's first bytes."""
    start = raw.read(6)
    raw.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if start.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    if start == b"\xfd7zXZ\0":
        return open_xz(raw)
    return raw


def _tar_members(raw: BinaryIO, into: Path, max_bytes: int) -> Iterator[tuple[str, bool, Callable[[], BinaryIO]]]:
    stream = _Bounded(_decompressed(raw), _MAX_TAR_HEADER)
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        while True:
            stream.budget = _MAX_TAR_HEADER
            member = tar.next()
            if member is None:
                break
            tar.members.clear()  # it keeps them all, with their headers
            if len(tar.pax_headers) > _MAX_GLOBAL_HEADERS:
                raise FetchError("the archive has too many headers")
            if not (member.isfile() or member.isdir()) or member.issparse():
                raise FetchError(f"the archive has a link or a device in it ({_short(member.name)})")
            if member.offset_data + member.size > max_bytes:  # also what is only passed over takes time
                raise _too_large(max_bytes)
            _safe(member.name)
            try:
                tarfile.data_filter(member, str(into))  # a second opinion beside `_safe`
            except tarfile.FilterError as error:
                raise FetchError(f"the archive wants to write outside its folder ({_short(member.name)})") from error
            stream.budget = None
            yield member.name, member.isfile(), lambda member=member: tar.extractfile(member)
        if stream.last != _END:  # tarfile takes a damaged header for the end
            raise tarfile.ReadError("no end")
        stream.budget = max_bytes
        while stream.read(_CHUNK):  # the checksum comes last
            pass


def _zip_members(raw: BinaryIO) -> Iterator[tuple[str, bool, Callable[[], BinaryIO]]]:
    stream = _Bounded(raw, _MAX_ZIP_DIRECTORY)
    with zipfile.ZipFile(stream) as archive:
        stream.budget = None
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise FetchError(f"the archive has a link or a device in it ({_short(member.filename)})")
            if member.compress_type == zipfile.ZIP_LZMA:  # may ask for 4 GiB of memory, and zipfile takes no limit
                raise FetchError("the archive is compressed by LZMA, which is not read: pack it by Deflate")
            yield member.filename, not member.is_dir(), lambda member=member: archive.open(member)


def _safe(name: str) -> PurePosixPath:
    """The path, if it stays below whatever it is put in on every system and file systems can take it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or ":" in name:
        raise FetchError(f"the archive wants to write outside its folder ({_short(name)})")
    if len(os.fsencode(name)) > _MAX_PATH or any(len(os.fsencode(part)) > _MAX_PART for part in path.parts):
        raise FetchError(f"the archive has a name in it that is too long ({_short(name)})")
    return path


def _short(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:40]}...{name[-20:]}"


def _too_large(max_bytes: int) -> FetchError:
    return FetchError(f"the archive unpacks to more than {max_bytes / 1e9:.0f} GB")
