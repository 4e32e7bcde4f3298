"""Archives that were made or damaged to be accepted: checksums, names, headers and files that are no images."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
import tracemalloc
import zipfile

import pytest

from altub.data import load_category
from altub.data.archive import extract
from altub.data.download import download_mvtec
from altub.data.fetch import FetchError
from altub.data.signatures import has_signature
from altub.data.sources import Source
from altub.errors import DataError
from tests.data.downloads import category_files, names, png, tar_of, zip_of

FILES = category_files("bottle")
LARGE_DICTIONARY = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
LONG = "x" * 260 + ".png"


def flipped(archive: bytes, content: bytes) -> bytes:
    """One bit of a stored, not compressed, content is another."""
    at = archive.index(content)
    return archive[: at + 50] + bytes([archive[at + 50] ^ 1]) + archive[at + 51 :]


def gzip_stored(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=0) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def pax_records(size: int) -> bytes:
    """A pax header of many short records before a file."""
    member = tarfile.TarInfo("bottle/train/good/000.png")
    record = b"6 a=b\n"
    header = tarfile.TarInfo("header")
    header.type, header.size = tarfile.XHDTYPE, size // len(record) * len(record)
    padded = (record * (size // len(record))).ljust(-(-header.size // 512) * 512, b"\0")
    return header.tobuf(tarfile.USTAR_FORMAT) + padded + member.tobuf(tarfile.USTAR_FORMAT) + bytes(1024)


def damaged_header(files: dict[str, bytes]) -> bytes:
    """A plain tar with a flipped bit in the header of its last member: tarfile takes it for the end."""
    archive = bytearray(tar_of(files, "w"))
    archive[archive.rindex(b"bottle/") + 8] ^= 1
    return bytes(archive)


HOSTILE = {
    "name over 255 bytes": (tar_of(FILES | {f"bottle/train/good/{LONG}": png()}), "too long"),
    "zip, name over 255 bytes": (zip_of(FILES | {f"bottle/train/good/{LONG}": png()}), "too long"),
    "path over 1024 bytes": (tar_of(FILES | {"bottle/" + "d/" * 600 + "a.png": png()}), "too long"),
    "gz, flipped bit": (flipped(gzip_stored(FILES), png()), "damaged"),
    "gz, flipped bit in the checksum": (tar_of(FILES, "w:gz")[:-5] + b"????" + b"\0", "damaged"),
    "xz, flipped bit in the index": (tar_of(FILES)[:-20] + b"????" + tar_of(FILES)[-16:], "damaged"),
    "zip, flipped bit": (flipped(zip_of(FILES), png()), "damaged"),
    "tar, flipped bit in a header": (damaged_header(FILES), "damaged"),
    "tar, cut off between members": (tar_of(FILES, "w").rstrip(b"\0").ljust(12800, b"\0")[: 512 * 4], "damaged"),
    "long pax header": (pax_records(1 << 20), "headers that are too long"),
    "xz that asks for a gigabyte": (lzma.compress(tar_of(FILES, "w"), filters=LARGE_DICTIONARY), "too much memory"),
    "zip with LZMA": (zip_of(FILES, zipfile.ZIP_LZMA), "by LZMA"),
    "junk named .png": (tar_of(FILES | {"bottle/train/good/001.png": b"<html>not found</html>"}), "not an image"),
    "empty .png": (zip_of(FILES | {"bottle/test/hole/001.png": b""}), "not an image"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_it_is_refused_removed_and_the_next_source_tried(server, whole, tmp_path, kind):
    server.files["/hostile"], reason = HOSTILE[kind]
    hostile = Source(url=f"{server.url}/hostile")
    with pytest.raises(DataError, match=reason):
        download_mvtec("bottle", tmp_path, accept_licence=True, sources=[hostile])
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
    download_mvtec("bottle", tmp_path, accept_licence=True, sources=[hostile, whole])
    assert [path for path, *_ in server.requests] == ["/hostile", "/hostile", "/mvtec.tar.xz"]
    assert load_category(tmp_path, "bottle").counts()["train"] == 1


def test_headers_take_no_memory(tmp_path):
    (tmp_path / "a.tar").write_bytes(pax_records(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(FetchError):
            extract(tmp_path / "a.tar", tmp_path, lambda path: path)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


def test_global_headers_do_not_add_up(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for k in range(80):
            header = tarfile.TarInfo.create_pax_global_header({f"KEY{k}": "v"})
            tar.fileobj.write(header)
            tar.offset += len(header)
            tar.addfile(tarfile.TarInfo(f"{k}.png"))
    (tmp_path / "a.tar").write_bytes(buffer.getvalue())
    with pytest.raises(FetchError, match="too many headers"):
        extract(tmp_path / "a.tar", tmp_path, lambda path: path)


def test_directory_of_a_zip_is_bounded(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for k in range(200):
            member = zipfile.ZipInfo(f"{k}.png")
            member.comment = b"x" * 65_000
            archive.writestr(member, b"")
    with pytest.raises(FetchError, match="headers that are too long"):
        extract(tmp_path / "a.zip", tmp_path, lambda path: path)


def test_what_is_passed_over_counts_too(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(tar_of({"junk.bin": bytes(900_000)}, "w:gz"))
    with pytest.raises(FetchError, match="unpacks to more"):
        extract(tmp_path / "a.tar.gz", tmp_path, lambda path: None, max_bytes=500_000)


def test_listed_files_must_be_there_and_right(server, tmp_path):
    server.files["/a"] = tar_of(FILES)
    good = hashlib.sha256(png()).hexdigest()
    for listed, reason in (
        ({"bottle/train/good/000.png": "0" * 64}, "000.png has a wrong checksum"),
        ({"bottle/train/good/001.png": good}, "001.png is missing"),
    ):
        with pytest.raises(DataError, match=reason):
            download_mvtec(
                "bottle", tmp_path, accept_licence=True, sources=[Source(url=f"{server.url}/a", files=listed)]
            )
        assert names(tmp_path) == []
    listed = {"bottle/train/good/000.png": good.upper(), "screw/train/good/000.png": "0" * 64}
    download_mvtec("bottle", tmp_path, accept_licence=True, sources=[Source(url=f"{server.url}/a", files=listed)])
    assert names(tmp_path) == ["bottle"]


def test_a_source_that_fails_in_an_unknown_way_is_one_more_failure(server, whole, tmp_path, monkeypatch):
    def odd(*args, **kwargs):
        raise KeyError("odd")

    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", odd)
    download_mvtec("bottle", tmp_path, accept_licence=True, sources=[Source(dataset="a/b"), whole])
    assert names(tmp_path) == ["bottle"]


@pytest.mark.parametrize(
    ("name", "start", "expected"),
    [
        ("a.png", b"\xff\xd8\xff\xe0", False),
        ("a.JPG", b"\xff\xd8\xff\xe0", True),
        ("a.webp", b"RIFF\0\0\0\0WEBP", True),
        ("a.webp", b"RIFF\0\0\0\0AVI ", False),
        ("a.tif", b"II*\0", True),
        ("a.avif", b"\0\0\0 ftypavif", True),
        ("a.pgm", b"P5 8 8", True),
        ("a.tga", b"", False),
    ],
)
def test_signatures(tmp_path, name, start, expected):
    (tmp_path / name).write_bytes(start)
    assert has_signature(tmp_path / name) is expected
