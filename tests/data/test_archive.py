"""Archives that are damaged, unsafe or too large leave nothing behind."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest

from altub.data.archive import extract
from altub.data.download import download_mvtec
from altub.data.fetch import FetchError
from altub.data.sources import Source
from altub.errors import DataError
from tests.data.downloads import category_files, names, png, tar_of, zip_of


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


BAD_ARCHIVES = {
    "parent folder": tar_of(category_files("bottle") | {"bottle/train/../../../escape.png": png()}),
    "absolute": tar_of(category_files("bottle") | {"/tmp/escape.png": png()}),
    "symbolic link": tar_of(
        category_files("bottle"), extra=(special("bottle/train/good/x.png", tarfile.SYMTYPE, "/etc/passwd"),)
    ),
    "hard link": tar_of(
        category_files("bottle"), extra=(special("bottle/train/good/x.png", tarfile.LNKTYPE, "../../x"),)
    ),
    "link within": tar_of(
        category_files("bottle"), extra=(special("bottle/train/good/x.png", tarfile.SYMTYPE, "000.png"),)
    ),
    "device": tar_of(category_files("bottle"), extra=(special("bottle/train/good/x.png", tarfile.CHRTYPE),)),
    "zip parent folder": zip_of(category_files("bottle") | {"bottle/train/../../../escape.png": png()}),
    "zip backslash": zip_of(category_files("bottle") | {"bottle\\..\\..\\escape.png": png()}),
    "zip link": None,
    "not an archive": b"nothing of the kind" * 100,
    "cut off": tar_of(category_files("bottle"))[:-200],
}
_link = zipfile.ZipInfo("bottle/train/good/x.png")
_link.external_attr = 0o120777 << 16
_buffer = io.BytesIO()
with zipfile.ZipFile(_buffer, "w") as _zip:
    for _name, _content in category_files("bottle").items():
        _zip.writestr(_name, _content)
    _zip.writestr(_link, "/etc/passwd")
BAD_ARCHIVES["zip link"] = _buffer.getvalue()


@pytest.mark.parametrize("kind", BAD_ARCHIVES)
def test_bad_archive_leaves_nothing(server, tmp_path, kind):
    server.files["/bad"] = BAD_ARCHIVES[kind]
    root = tmp_path / "a" / "b" / "root"
    with pytest.raises(DataError, match=r"outside|link or a device|no archive"):
        download_mvtec("bottle", root, accept_licence=True, sources=[Source(url=f"{server.url}/bad")])
    assert names(root) == []
    assert not list(tmp_path.rglob("escape*"))
    assert not list(tmp_path.rglob("*.png"))


def test_archive_bounds(tmp_path):
    archive = tmp_path / "a.tar.xz"
    archive.write_bytes(tar_of({f"f{k}.png": bytes(100_000) for k in range(10)}))
    (tmp_path / "out").mkdir()
    with pytest.raises(FetchError, match="more than 5 members"):
        extract(archive, tmp_path / "out", lambda path: path, max_members=5)
    with pytest.raises(FetchError, match="unpacks to more"):
        extract(archive, tmp_path / "out", lambda path: path, max_bytes=500_000)
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) <= 600_000
    assert extract(archive, tmp_path / "out", lambda path: path) == 10
