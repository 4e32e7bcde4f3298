"""How much a request may carry: counted while it arrives, before the login and before anything is parsed."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from altub.errors import ConfigError
from altub.settings import max_body_bytes, max_upload_bytes
from altub.ui.server.body_limit import FIELD_BYTES, BodyLimit

UPLOAD = "/gradio_api/upload"


class Echo:
    """An application that reads bodies whole, as Gradio does, and remembers how much it was given."""

    def __init__(self) -> None:
        self.read = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async for chunk in Request(scope, receive).stream():
            self.read += len(chunk)
        await PlainTextResponse("read")(scope, receive, send)


def post(limited: BodyLimit, path: str, **request: Any) -> httpx.Response:
    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app=limited)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post(path, **request)

    return asyncio.run(call())


def chunks(count: int, size: int = 1000) -> Any:
    async def produce() -> Any:
        for _ in range(count):
            yield b"0" * size

    return produce()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def limited(echo: Echo) -> BodyLimit:
    return BodyLimit(echo, body_bytes=5000, upload_bytes=100_000, max_files=3)


def test_small_bodies_pass(limited: BodyLimit, echo: Echo) -> None:
    assert post(limited, "/gradio_api/queue/join", content=b"0" * 5000).text == "read"
    assert echo.read == 5000


def test_a_length_that_is_announced_is_refused_before_the_body_is_read(limited: BodyLimit, echo: Echo) -> None:
    answer = post(limited, "/gradio_api/queue/join", content=b"0" * 5001)
    assert answer.status_code == 413 and "5,000 bytes" in answer.text
    assert echo.read == 0


def test_bodies_of_no_announced_length_are_counted(limited: BodyLimit, echo: Echo) -> None:
    answer = post(limited, "/gradio_api/queue/join", content=chunks(1000))
    assert answer.status_code == 413 and "5,000 bytes" in answer.text
    assert echo.read <= 5000


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/login", "/gradio_api/upload_progress", "/x" + UPLOAD])
def test_only_the_upload_endpoint_takes_files(limited: BodyLimit, path: str) -> None:
    assert post(limited, path, files={"files": ("a.png", b"0" * 6000)}).status_code == 413


def test_an_upload_that_is_no_form_is_small_too(limited: BodyLimit) -> None:
    assert post(limited, UPLOAD, content=b"0" * 6000, headers={"Content-Type": "application/json"}).status_code == 413


@pytest.mark.parametrize("path", [UPLOAD, UPLOAD + "/"])
def test_uploads_may_be_large(limited: BodyLimit, path: str) -> None:
    assert post(limited, path, files=[("files", (f"{k}.png", b"0" * 30_000)) for k in range(3)]).text == "read"


def test_an_upload_has_a_size_and_a_number_of_files(limited: BodyLimit, echo: Echo) -> None:
    large = post(limited, UPLOAD, files={"files": ("a.png", b"0" * 100_001)})
    many = post(limited, UPLOAD, files=[("files", (f"{k}.png", b"0")) for k in range(4)])
    assert (large.status_code, many.status_code) == (413, 413)
    assert "100,000 bytes" in large.text and "3 files" in many.text
    assert echo.read < 1000


def test_fields_of_an_upload_stay_in_memory_so_they_are_small(limited: BodyLimit) -> None:
    answer = post(limited, UPLOAD, files={"files": (None, b"0" * (FIELD_BYTES + 1))})
    assert answer.status_code == 413 and "fields" in answer.text


def test_a_malformed_upload_is_left_to_gradio(limited: BodyLimit) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert post(limited, UPLOAD, content=b"this is no form", headers=headers).text == "read"
    long = {"Content-Type": f"multipart/form-data; boundary={'x' * 5000}"}
    assert post(limited, UPLOAD, content=b"", headers=long).status_code == 413


def test_an_upload_is_refused_where_there_is_no_room(echo: Echo) -> None:
    class Room(AbstractContextManager[Any]):
        refusal: str | None = None
        left = 1000

        def take(self, count: int) -> bool:
            self.left -= count
            self.refusal = "No room: try again later." if self.left < 0 else None
            return self.refusal is None

        def __exit__(self, *_error: object) -> None:
            left.append(self.left)

    left: list[int] = []
    limited = BodyLimit(echo, 5000, 100_000, room=Room)
    assert post(limited, UPLOAD, files={"files": ("a.png", b"0" * 100)}).text == "read"
    answer = post(limited, UPLOAD, files={"files": ("a.png", b"0" * 2000)})
    assert (answer.status_code, answer.text) == (507, "No room: try again later.")
    assert post(limited, "/gradio_api/queue/join", content=b"0" * 2000).text == "read"
    assert len(left) == 2 and left[0] > 0 > left[1]


def test_sizes_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (max_body_bytes(), max_upload_bytes()) == (2 << 20, 50 << 20)
    monkeypatch.setenv("ALTUB_MAX_BODY", "64 KB")
    assert max_body_bytes() == 64 << 10
    for text in ("much", "-1mb", "0mb", "2"):
        monkeypatch.setenv("ALTUB_MAX_BODY", text)
        with pytest.raises(ConfigError, match="ALTUB_MAX_BODY"):
            max_body_bytes()
