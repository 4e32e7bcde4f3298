"""Unpacks untrusted archives: regular files only, only below the target, and within bounds.

Members with absolute paths, with ``..``, links of either kind and devices make the whole archive refused, also when
the member is not wanted: an archive that contains one is not what it says it is.
"""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from altub.data.fetch import FetchError
from altub.files import explain_full_disk

__all__ = ["MAX_BYTES", "MAX_MEMBERS", "extract"]

#: Bounds on what one archive may unpack to; MVTec AD has 6,700 files of 5.3 GB in all.
MAX_BYTES = 16 << 30
MAX_MEMBERS = 50_000

_CHUNK = 1 << 20
# RuntimeError is what zipfile raises for a password; NotImplementedError, one of them, for an unknown compression.
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, RuntimeError)


def extract(
    archive: Path,
    into: Path,
    place: Callable[[PurePosixPath], PurePosixPath | None],
    *,
    max_bytes: int = MAX_BYTES,
    max_members: int = MAX_MEMBERS,
    watch: Callable[[int, int], None] | None = None,
) -> int:
    """Unpack a tar (plain, gz, bz2, xz) or zip file below ``into``; return the number of files written.

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
            members = _zip_members(raw) if zipfile.is_zipfile(archive) else _tar_members(raw, into)
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
                    raise FetchError(f"the archive wants to write outside its folder ({name})")
                target.parent.mkdir(parents=True, exist_ok=True)
                with open_member() as source, target.open("wb") as file:
                    while chunk := source.read(_CHUNK):
                        written += len(chunk)
                        if written > max_bytes:
                            raise FetchError(f"the archive unpacks to more than {max_bytes / 1e9:.0f} GB")
                        file.write(chunk)
                if watch is not None:
                    watch(min(raw.tell(), size), size)
    except _DAMAGED as error:
        raise FetchError("the file is no archive, or a damaged one") from error
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise FetchError("the archive has a file and a folder of the same name") from error
    except OSError as error:
        if error.errno is None:  # so do the gzip and bzip2 readers report damaged data
            raise FetchError("the file is no archive, or a damaged one") from error
        raise
    return count


def _tar_members(raw: BinaryIO, into: Path) -> Iterator[tuple[str, bool, Callable[[], BinaryIO]]]:
    with tarfile.open(fileobj=raw, mode="r:*") as tar:
        for member in tar:
            if not (member.isfile() or member.isdir()):
                raise FetchError(f"the archive has a link or a device in it ({member.name})")
            try:
                tarfile.data_filter(member, str(into))  # a second opinion beside `_safe`
            except tarfile.FilterError as error:
                raise FetchError(f"the archive wants to write outside its folder ({member.name})") from error
            yield member.name, member.isfile(), lambda member=member: tar.extractfile(member)


def _zip_members(raw: BinaryIO) -> Iterator[tuple[str, bool, Callable[[], BinaryIO]]]:
    with zipfile.ZipFile(raw) as archive:
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise FetchError(f"the archive has a link or a device in it ({member.filename})")
            yield member.filename, not member.is_dir(), lambda member=member: archive.open(member)


def _safe(name: str) -> PurePosixPath:
    """The path, if it stays below whatever it is put in on every system."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or ":" in name:
        raise FetchError(f"the archive wants to write outside its folder ({name})")
    return path
