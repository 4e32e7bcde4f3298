"""MVTec AD's download against a server on the loopback: everything that goes wrong with downloads, on purpose."""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from altub.data import fetch as fetch_module
from altub.data import load_category
from altub.data.archive import extract
from altub.data.download import (
    DEFAULT_SOURCES,
    DownloadStoppedError,
    Progress,
    Source,
    download_mvtec,
    mvtec_sources,
    parse_sources,
)
from altub.data.fetch import FetchError, fetch
from altub.errors import ConfigError, DataError, DiskFullError

HUB_COMMIT = "a" * 40


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def category_files(name: str, top: str = "") -> dict[str, bytes]:
    return {
        f"{top}{name}/license.txt": b"CC BY-NC-SA 4.0",
        f"{top}{name}/train/good/000.png": png(),
        f"{top}{name}/test/good/000.png": png(),
        f"{top}{name}/test/hole/000.png": png(),
        f"{top}{name}/ground_truth/hole/000_mask.png": png(),
    }


def tar_of(files: dict[str, bytes], mode: str = "w:xz", extra: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in extra:
            tar.addfile(member)
    return buffer.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class Server:
    """Serves ``files`` with ETag and ranges, remembers the requests, and can drop connections."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None, str | None]] = []
        self.drop_after: list[int] = []  # for the next responses: bytes of the body before the connection drops
        self.content_type = "application/octet-stream"
        self.ranges = True
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
                server.requests.append((self.path, asked, condition))
                body = server.files.get(self.path.partition("?")[0])
                if body is None:
                    self.send_error(404)
                    return
                etag = f'"{hashlib.sha256(body).hexdigest()[:8]}"'
                start = 0
                if server.ranges and asked and condition in (None, etag):
                    start = int(asked.removeprefix("bytes=").rstrip("-"))
                    if start >= len(body):
                        self.send_error(416)
                        return
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                else:
                    self.send_response(200)
                self.send_header("ETag", etag)
                self.send_header("X-Repo-Commit", HUB_COMMIT)
                self.send_header("Content-Type", server.content_type)
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                rest = body[start:] if self.command == "GET" else b""
                if server.drop_after:
                    self.wfile.write(rest[: server.drop_after.pop(0)])
                    self.close_connection = True
                    return
                self.wfile.write(rest)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *args) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.close()


@pytest.fixture
def whole(server) -> Source:
    """An archive with two categories below a top folder, as a source."""
    files = category_files("bottle", "mvtec/") | category_files("screw", "mvtec/")
    server.files["/mvtec.tar.xz"] = tar_of(files)
    return Source(url=f"{server.url}/mvtec.tar.xz", sha256=hashlib.sha256(server.files["/mvtec.tar.xz"]).hexdigest())


def names(folder: Path) -> list[str]:
    """What a user sees in a folder."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


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


def test_dropped_connection_goes_on_where_it_was(server, tmp_path):
    body = bytes(range(256)) * 4000
    server.files["/file"] = body
    server.drop_after = [300_000, 200_000]
    target = fetch(f"{server.url}/file", tmp_path / "file", retry_wait=0)
    assert target.read_bytes() == body
    assert [asked for _, asked, _ in server.requests] == [None, "bytes=300000-", "bytes=500000-"]
    assert server.requests[1][2] is not None, "the range is asked for on condition that the file is the same"
    assert names(tmp_path) == ["file"]


def test_part_of_an_earlier_attempt_is_continued(server, tmp_path):
    body = bytes(range(256)) * 4000
    server.files["/file"] = body
    server.drop_after = [300_000, 0, 0, 0, 0, 0]
    with pytest.raises(FetchError, match="dropped after 300,000 of 1,024,000"):
        fetch(f"{server.url}/file", tmp_path / "file", retry_wait=0)
    assert not (tmp_path / "file").exists()
    server.drop_after = []
    server.requests.clear()
    assert fetch(f"{server.url}/file", tmp_path / "file", retry_wait=0).read_bytes() == body
    assert [asked for _, asked, _ in server.requests] == ["bytes=300000-"]


def test_changed_remote_file_is_begun_again(server, tmp_path):
    server.files["/file"] = b"old " * 1000
    server.drop_after = [2000, 0, 0, 0, 0, 0]
    with pytest.raises(FetchError):
        fetch(f"{server.url}/file", tmp_path / "file", retry_wait=0)
    server.drop_after = []
    server.files["/file"] = b"new " * 1000
    assert fetch(f"{server.url}/file", tmp_path / "file", retry_wait=0).read_bytes() == b"new " * 1000


def test_server_without_ranges_sends_all_of_it_again(server, tmp_path):
    server.ranges = False
    server.files["/file"] = b"x1" * 1000
    server.drop_after = [500]
    assert fetch(f"{server.url}/file", tmp_path / "file", retry_wait=0).read_bytes() == b"x1" * 1000


def test_part_that_is_complete_already_is_only_verified(server, tmp_path):
    server.files["/file"] = b"x1" * 1000
    fetch(f"{server.url}/file", tmp_path / "other", retry_wait=0)
    (tmp_path / "other").rename(tmp_path / "file.part")
    note = {"url": f"{server.url}/file", "etag": f'"{hashlib.sha256(b"x1" * 1000).hexdigest()[:8]}"', "total": 2000}
    (tmp_path / "file.part.json").write_text(json.dumps(note))
    assert fetch(f"{server.url}/file", tmp_path / "file", retry_wait=0).read_bytes() == b"x1" * 1000
    assert server.requests[-1][1] == "bytes=2000-"


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


def test_stop_keeps_the_part_for_the_next_time(server, tmp_path):
    body = bytes(3 << 20)
    server.files["/file"] = body
    asked = []
    with pytest.raises(DownloadStoppedError):
        fetch(f"{server.url}/file", tmp_path / "file", should_stop=lambda: asked.append(1) or len(asked) > 2)
    part = (tmp_path / "file.part").stat().st_size
    assert 0 < part < len(body)
    assert fetch(f"{server.url}/file", tmp_path / "file").read_bytes() == body
    assert server.requests[-1][1] == f"bytes={part}-"


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


@pytest.fixture
def hub(server, monkeypatch, tmp_path) -> Source:
    """A data set on a Hub of its own, reached with the real client."""
    import huggingface_hub

    files = category_files("bottle") | category_files("screw")
    tree = [
        {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        for name, content in files.items()
    ]
    info = {"id": "me/mvtec", "sha": HUB_COMMIT, "private": False, "downloads": 0, "likes": 0, "tags": []}
    info["siblings"] = [{"rfilename": name} for name in files]
    server.files["/api/datasets/me/mvtec/revision/v1"] = json.dumps(info).encode()
    server.files[f"/api/datasets/me/mvtec/tree/{HUB_COMMIT}"] = json.dumps(tree).encode()
    for name, content in files.items():
        server.files[f"/datasets/me/mvtec/resolve/{HUB_COMMIT}/{name}"] = content
    snapshot = functools.partial(
        huggingface_hub.snapshot_download, endpoint=server.url, cache_dir=tmp_path / "hub-cache", token=False
    )
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return Source(dataset="me/mvtec", revision="v1")


def test_hub_data_set(server, hub, tmp_path, capfd):
    seen: list[Progress] = []
    root = tmp_path / "data"
    download_mvtec("screw", root, accept_licence=True, sources=[hub], progress=seen.append)
    assert names(root) == ["screw"]
    assert load_category(root, "screw").counts() == {"train": 1, "test_good": 1, "test_defective": 1, "masks": 1}
    assert (root / "screw" / "license.txt").exists()
    assert not any("bottle" in path for path, *_ in server.requests), "only what is wanted is asked for"
    assert seen[-1].source == "Hub data set me/mvtec"
    assert seen[-1].done == seen[-1].total == sum(len(content) for content in category_files("screw").values())
    assert capfd.readouterr().err == "", "the client's own bars stay off the terminal"


def test_hub_download_stops(hub, tmp_path):
    asked = []
    with pytest.raises(DownloadStoppedError):
        download_mvtec(
            "screw",
            tmp_path / "data",
            accept_licence=True,
            sources=[hub],
            should_stop=lambda: asked.append(1) or len(asked) > 2,
        )
    assert names(tmp_path / "data") == []


def test_hub_that_cannot_be_reached_is_one_more_failure(monkeypatch, tmp_path):
    import huggingface_hub

    def unreachable(*args, **kwargs):
        raise huggingface_hub.errors.LocalEntryNotFoundError("Cannot find the requested files.\nMore of it.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(DataError, match=r"Hub data set a/b: LocalEntryNotFoundError: Cannot find"):
        download_mvtec("screw", tmp_path, accept_licence=True, sources=[Source(dataset="a/b")])


def test_sources_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("ALTUB_MVTEC_SOURCES", raising=False)
    assert mvtec_sources() == DEFAULT_SOURCES
    text = json.dumps(["https://a.example/{category}.tar", "hf:me/mvtec", {"url": "http://b/x", "sha256": "0" * 64}])
    monkeypatch.setenv("ALTUB_MVTEC_SOURCES", text)
    by_text = mvtec_sources()
    assert [(s.url, s.dataset, s.by_category) for s in by_text] == [
        ("https://a.example/{category}.tar", None, True),
        (None, "me/mvtec", True),
        ("http://b/x", None, False),
    ]
    (tmp_path / "sources.json").write_text(text)
    monkeypatch.setenv("ALTUB_MVTEC_SOURCES", str(tmp_path / "sources.json"))
    assert mvtec_sources() == by_text


@pytest.mark.parametrize(
    "text", ["[]", "[1]", "/not/there.json", '[{"url": "ftp://x/y"}]', '[{"adress": "x"}]', "[{}]"]
)
def test_bad_sources_are_refused(text):
    with pytest.raises(ConfigError):
        parse_sources(text)
