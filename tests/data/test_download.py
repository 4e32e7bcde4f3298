"""MVTec AD's download against a server on the loopback: everything that goes wrong with downloads, on purpose."""

from __future__ import annotations

import errno
import io
from collections import namedtuple
from pathlib import Path

import pytest

from altub.data import fetch as fetch_module
from altub.data import load_category
from altub.data.download import download_mvtec
from altub.data.fetch import Progress
from altub.data.sources import Source
from altub.errors import DataError, DiskFullError
from tests.data.downloads import category_files, names, png, tar_of, zip_of


def test_without_consent_nothing_is_asked_for(server, whole, tmp_path):
    with pytest.raises(DataError, match=r"CC BY-NC-SA 4\.0"):
        download_mvtec("bottle", tmp_path, accept_licence=False, sources=[whole])
    assert server.requests == []


def test_archive_ends_as_a_category_that_loads(server, whole, tmp_path):
    seen: list[Progress] = []
    root = download_mvtec("bottle", tmp_path / "new", accept_licence=True, sources=[whole], progress=seen.append)
    assert root == tmp_path / "new"
    assert names(root) == ["bottle"], "only the category that was asked for"
    category = load_category(root, "bottle")
    assert category.counts() == {"train": 1, "test_good": 1, "test_defective": 1, "masks": 1}
    assert (root / "bottle" / "license.txt").read_text() == "CC BY-NC-SA 4.0"
    downloads = [report for report in seen if report.phase == "download"]
    assert downloads[-1].done == downloads[-1].total == len(server.files["/mvtec.tar.xz"])
    assert downloads[-1].fraction == 1.0
    leftovers = [path for path in root.rglob("*") if path.is_file() and "bottle" not in path.parts]
    assert [path.suffix for path in leftovers] in ([], [".lock"]), leftovers


def test_what_is_there_is_not_fetched_again(server, whole, tmp_path):
    download_mvtec(["bottle"], tmp_path, accept_licence=True, sources=[whole])
    marked = tmp_path / "bottle" / "train" / "good" / "mine.png"
    marked.write_bytes(png())
    server.requests.clear()
    download_mvtec("bottle", tmp_path, accept_licence=True, sources=[whole])
    assert server.requests == []
    download_mvtec(["bottle", "screw"], tmp_path, accept_licence=True, sources=[whole])
    assert names(tmp_path) == ["bottle", "screw"]
    assert marked.exists()


@pytest.mark.parametrize("pack", [lambda f: tar_of(f, "w"), lambda f: tar_of(f, "w:gz"), tar_of, zip_of])
def test_one_archive_a_category_in_every_format(server, tmp_path, pack):
    server.files["/bottle.any"] = pack(category_files("bottle"))
    flat = {name.removeprefix("screw/"): content for name, content in category_files("screw").items()}
    server.files["/screw.any"] = pack(flat)  # begins at train/, without a folder of the category
    source = Source(url=server.url + "/{category}.any")
    download_mvtec(["screw", "bottle"], tmp_path, accept_licence=True, sources=[source])
    assert [load_category(tmp_path, name).counts()["masks"] for name in ("bottle", "screw")] == [1, 1]


def test_wrong_checksum_leaves_nothing(server, whole, tmp_path):
    wrong = Source(url=whole.url, sha256="0" * 64)
    with pytest.raises(DataError, match="wrong checksum"):
        download_mvtec("bottle", tmp_path, accept_licence=True, sources=[wrong])
    assert names(tmp_path) == []
    assert not list(tmp_path.rglob("*.part"))


def test_dead_links_lead_to_the_next_source(server, whole, tmp_path):
    dead = Source(url=f"{server.url}/gone.tar.xz")
    download_mvtec("screw", tmp_path, accept_licence=True, sources=[dead, whole])
    assert [path for path, *_ in server.requests] == ["/gone.tar.xz", "/mvtec.tar.xz"]
    assert load_category(tmp_path, "screw").train


def test_all_sources_dead_tells_what_to_do_by_hand(server, tmp_path):
    page = Source(url=f"{server.url}/page")
    server.files["/page"] = b"<html>This share has expired</html>"
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(DataError) as caught:
        download_mvtec("bottle", tmp_path, accept_licence=True, sources=[Source(url=f"{server.url}/gone.tar.xz"), page])
    message = str(caught.value)
    assert "HTTP 404" in message and "web page" in message
    assert "https://www.mvtec.com/company/research/datasets/mvtec-ad" in message
    assert str(tmp_path / "bottle" / "train" / "good") in message


def test_source_without_the_category_is_a_failure(server, tmp_path):
    server.files["/a.tar"] = tar_of(category_files("screw"), "w")
    with pytest.raises(DataError, match="no good images of bottle"):
        download_mvtec(["bottle", "screw"], tmp_path, accept_licence=True, sources=[Source(url=server.url + "/a.tar")])
    assert names(tmp_path) == ["screw"], "what could be had is kept"


def test_no_room_is_known_before_the_first_byte(server, whole, tmp_path, monkeypatch):
    size = len(server.files["/mvtec.tar.xz"])
    usage = namedtuple("usage", "total used free")
    free = [fetch_module._SPARE + size - 1]
    monkeypatch.setattr(fetch_module.shutil, "disk_usage", lambda path: usage(1 << 40, 0, free[0]))
    with pytest.raises(DiskFullError, match="not enough room"):
        download_mvtec("bottle", tmp_path, accept_licence=True, sources=[whole])
    assert names(tmp_path) == []
    free[0] += 1
    download_mvtec("bottle", tmp_path, accept_licence=True, sources=[whole])
    assert names(tmp_path) == ["bottle"]


def test_disk_that_fills_up_meanwhile_leaves_nothing_under_the_final_name(server, whole, tmp_path, monkeypatch):
    real_open = Path.open

    class Full(io.BytesIO):
        def write(self, data) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(self, mode="r", *args, **kwargs):
        return Full() if self.suffix == ".png" and "w" in mode else real_open(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(DiskFullError):
        download_mvtec("bottle", tmp_path, accept_licence=True, sources=[whole])
    assert names(tmp_path) == []


def test_folder_that_is_something_else_is_left_alone(server, whole, tmp_path):
    (tmp_path / "bottle").mkdir()
    (tmp_path / "bottle" / "wine.txt").write_text("mine")
    with pytest.raises(DataError, match="move it away"):
        download_mvtec("bottle", tmp_path, accept_licence=True, sources=[whole])
    assert (tmp_path / "bottle" / "wine.txt").read_text() == "mine"
    assert server.requests == []


def test_unknown_category_names_the_fifteen(tmp_path):
    with pytest.raises(DataError, match=r"bottle, cable, .*zipper"):
        download_mvtec("teapot", tmp_path, accept_licence=True, sources=[])
