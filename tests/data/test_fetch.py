"""One file over HTTP: dropped connections, changed files, parts that are continued."""

from __future__ import annotations

import hashlib
import json

import pytest

from altub.data.fetch import DownloadStoppedError, FetchError, fetch
from tests.data.downloads import names


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
