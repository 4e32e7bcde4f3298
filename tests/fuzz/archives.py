"""Hostile archives: members that lead out, links, devices, headers that lie, bombs, and damaged good ones."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Iterator

from tests.fuzz.mutations import damaged_bytes, generator, pick

__all__ = ["hostile_archives"]

NAMES = (
    *("../out.png", "/out.png", "a/../../out.png", "a/./b.png", "..", ".", "", "/", "C:\\out.png", "..\\out.png"),
    *("a\0b.png", "x" * 300 + ".png", "a/" * 600 + "b.png", "a\nb.png", "\udcff.png", "con.png", " ", "a.png/b.png"),
)
LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.GNUTYPE_SPARSE)
PACKERS = (bytes, gzip.compress, bz2.compress, lzma.compress)
BOMB = bytes(20_000_000)


def hostile_archives(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """(what it is, content) of `count` files."""
    for number in range(count):
        rng = generator(seed, number)
        name = pick(rng, NAMES)
        match number % 8:
            case 0:
                what, content = f"tar with {name[:30]!r}", _tar([_member(name)])
            case 1:
                what, content = f"zip with {name[:30]!r}", _zip([(name, b"1")])
            case 2:
                link = _member("a.png", kind=pick(rng, LINKS))
                link.linkname = pick(rng, ("../../out", "/etc/passwd", "a.png", "missing"))
                what, content = f"tar with a link to {link.linkname}", _tar([link, _member("a.png/b.png")])
            case 3:
                entry = zipfile.ZipInfo("a.png")
                entry.external_attr = (pick(rng, (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR)) | 0o777) << 16
                what, content = "zip with a link", _zip([(entry, b"../../out"), ("a.png/b.png", b"1")])
            case 4:
                what, content = "bomb", pick(rng, (_zip([("a.png", BOMB)]), _tar([_member("a.png", BOMB)], BOMB)))
            case 5:
                headers = {pick(rng, ("path", "comment", "size", "linkpath")): pick(rng, ("9" * 60_000, "../a", "-1"))}
                what, content = "tar with headers", _tar([_member("a.png", headers=headers)])
            case 6:
                what, content = "many members", pick(rng, (_zip, _tar_of))([(f"{i}.png", b"1") for i in range(200)])
            case _:
                what, content = "good", pick(rng, (_zip, _tar_of))([("a/b.png", b"1" * 3000), ("c.png", b"2")])
        if content[:2] != b"PK":
            content = pick(rng, PACKERS)(content)
        if number % 8 == 7 or rng.random() < 0.3:
            what, content = f"{what}, damaged", damaged_bytes(rng, content)
        yield f"archive {number} ({what})", content


def _member(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, headers: dict | None = None
) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.pax_headers = kind, len(content), headers or {}
    return member


def _tar(members: list[tarfile.TarInfo], content: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _tar_of(files: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files:
            tar.addfile(_member(name, content), io.BytesIO(content))
    return buffer.getvalue()


def _zip(files: list[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            if isinstance(name, str):
                name = name.replace("\udcff", "\u00ff") or " "  # zipfile writes no empty name
            archive.writestr(name, content)
    return buffer.getvalue()
