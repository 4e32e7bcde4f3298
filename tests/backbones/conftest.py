"""Backbones in tests: no weights at hand, complete files of random weights, a Hub of two endpoints."""

from __future__ import annotations

import http.server
import socket
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from altub.backbones import weights

SMALL = "resnet18.tv_in1k"


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No weights folder, an empty cache, and a Hub that refuses connections."""
    from huggingface_hub import constants, file_download

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.delenv("ALTUB_WEIGHTS", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    use_endpoint(monkeypatch, f"http://127.0.0.1:{port}")
    monkeypatch.setattr(file_download, "HF_HUB_OFFLINE", False, raising=False)
    monkeypatch.setattr(weights, "_reach", {})


def use_endpoint(monkeypatch, url: str) -> None:
    from huggingface_hub import constants, file_download

    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)


def timm_tensors(name: str, seed: int = 7) -> dict[str, Tensor]:
    """A complete state of the timm model, batch statistics unlike those of a fresh one."""
    import timm

    torch.manual_seed(seed)
    model = timm.create_model(name, pretrained=False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 1.5)
    return {key: value.contiguous().clone() for key, value in model.state_dict().items()}


@pytest.fixture(scope="session")
def complete() -> dict[str, Tensor]:
    return timm_tensors(SMALL)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    path = tmp_path / "weights"
    path.mkdir()
    monkeypatch.setenv("ALTUB_WEIGHTS", str(path))
    return path


class Hub(http.server.BaseHTTPRequestHandler):
    """The two endpoints that a download uses."""

    content = b""
    break_off = False

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        if self.path != "/timm/resnet18.tv_in1k/resolve/main/model.safetensors":
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if body and self.break_off:
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", '"abc"')
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        if body:
            self.wfile.write(self.content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path, complete):
    save_file(complete, tmp_path / "model.safetensors")
    monkeypatch.setattr(Hub, "content", (tmp_path / "model.safetensors").read_bytes())
    monkeypatch.setattr(Hub, "break_off", False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    use_endpoint(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()
