"""MVTec AD from a data set on the Hub, with the real client against a server on the loopback."""

from __future__ import annotations

import functools
import hashlib
import json

import pytest

from altub.data import load_category
from altub.data.download import download_mvtec
from altub.data.fetch import DownloadStoppedError, Progress
from altub.data.sources import Source
from altub.errors import DataError
from tests.data.downloads import HUB_COMMIT, category_files, names


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
