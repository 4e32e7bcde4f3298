"""The end of the server: running requests finish, new ones are refused, a second signal ends it at once."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from altub.ui.server.ending import Drain, Draining
from tests.ui.conftest import Server

SLOW = 0.5


async def slow(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(SLOW)
    await PlainTextResponse("done")(scope, receive, send)


def test_requests_under_way_finish_and_new_ones_are_refused() -> None:
    drain = Drain()

    async def visit() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=Draining(slow, drain))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            running = asyncio.ensure_future(client.post("/gradio_api/queue/join"))
            endless = asyncio.ensure_future(client.get("/gradio_api/heartbeat/session"))
            await asyncio.sleep(SLOW / 5)
            assert drain.running == 1  # an open page keeps no server
            drain.begin()
            new = [await client.get("/"), await client.post("/gradio_api/queue/join")]
            follows = await client.get("/gradio_api/queue/data")  # its result
            return [*new, follows, await running, await endless]

    answers = asyncio.run(visit())
    assert [answer.status_code for answer in answers] == [503, 503, 200, 200, 200]
    assert answers[0].headers["Retry-After"] and drain.running == 0


def test_waiting_ends_when_all_is_quiet_or_the_time_is_up() -> None:
    drain = Drain()
    assert drain.wait(5, quiet=0.1)
    drain.running = 1
    began = time.monotonic()
    assert not drain.wait(0.3)
    assert 0.25 < time.monotonic() - began < 2


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "temporary"))
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


class Upload(threading.Thread):
    """Sends a file slowly; `release` lets it end."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.released, self.status = url, threading.Event(), 0

    def run(self) -> None:
        def body() -> Iterator[bytes]:
            yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nhello'
            self.released.wait(60)
            yield b"\r\n--x--\r\n"

        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        try:
            answer = httpx.post(f"{self.url}gradio_api/upload", content=body(), headers=headers, timeout=60)
            self.status = answer.status_code
        except httpx.HTTPError:
            self.status = -1


def temporary(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "temporary").glob("altub-page-*"))


def test_a_signal_lets_running_requests_finish(server: Server, tmp_path: Path) -> None:
    upload = Upload(server.url)
    upload.start()
    time.sleep(1)
    assert len(temporary(tmp_path)) == 1
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert httpx.get(server.url).status_code == 503
    time.sleep(1.5)
    assert server.process.poll() is None
    upload.released.set()
    upload.join(20)
    assert upload.status == 200
    assert server.process.wait(30) == 0
    assert temporary(tmp_path) == [] and "Traceback" not in "".join(server.output)


def test_a_second_signal_ends_the_server_at_once(server: Server, tmp_path: Path) -> None:
    upload = Upload(server.url)
    upload.start()
    time.sleep(1)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(5) == 128 + signal.SIGTERM
    upload.released.set()
    assert temporary(tmp_path) == []
