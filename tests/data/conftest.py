"""A server for downloads, and a source of MVTec AD on it."""

from __future__ import annotations

import hashlib

import pytest

from altub.data.sources import Source
from tests.data.downloads import Server, category_files, tar_of


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
