"""How much a request may carry: counted while it arrives, before anything is parsed and before the login is checked.

Gradio and FastAPI read a body whole, whoever sends it: a few hundred megabytes of JSON take gigabytes of memory. Only
the upload endpoint takes large bodies, since it writes files to the disk as they arrive. Its form fields do stay in
memory, so that they have a bound of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Protocol

from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["MAX_FILES", "BodyLimit"]

UPLOAD_PATH = "/gradio_api/upload"
MAX_FILES = 1000  # of one upload: what Gradio's page sends at a time
FIELD_BYTES = 64 << 10  # all form fields of an upload together


class Room(AbstractContextManager["Room"], Protocol):
    """Where an upload is written to: entered while it lasts."""

    refusal: str | None  # why there is no room, in a sentence

    def take(self, count: int) -> bool:
        """May these further bytes be written?"""
        ...


class BodyLimit:
    """ASGI middleware that answers 413 to bodies that are too large, and 507 where there is no room for an upload.

    Args:
        app: the application behind it.
        body_bytes: largest body of any request but an upload.
        upload_bytes: largest upload, all its files together; Gradio bounds each file.
        max_files: most files of one upload.
        room: called for each upload; None: there is always room.
    """

    def __init__(
        self,
        app: ASGIApp,
        body_bytes: int,
        upload_bytes: int,
        max_files: int = MAX_FILES,
        room: Callable[[], Room] | None = None,
    ) -> None:
        self.app = app
        self.body_bytes, self.upload_bytes, self.max_files, self.room = body_bytes, upload_bytes, max_files, room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        kind, options = parse_options_header(headers.get("content-type"))
        if scope["path"].rstrip("/") != UPLOAD_PATH or kind != b"multipart/form-data":
            limit = _Limit(self.body_bytes, "A request")
            await self._pass_on(scope, receive, send, limit, headers)
            return
        limit = _UploadLimit(self.upload_bytes, self.max_files, options.get(b"boundary", b""))
        with self.room() if self.room is not None else nullcontext() as limit.room:
            await self._pass_on(scope, receive, send, limit, headers)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, limit: _Limit, headers: Headers) -> None:
        started = False
        limit.announce(headers.get("content-length"))

        async def counted() -> Message:
            if limit.refusal is None:
                message = await receive()
                if message["type"] != "http.request" or limit.take(message.get("body", b"")):
                    return message
            return {"type": "http.disconnect"}  # the application stops reading

        async def unless_refused(message: Message) -> None:
            nonlocal started
            if limit.refusal is None or started:
                started = True
                await send(message)

        if limit.refusal is None:
            try:
                await self.app(scope, counted, unless_refused)
            except ClientDisconnect:
                if limit.refusal is None:
                    raise
        if limit.refusal is not None and not started:
            await PlainTextResponse(limit.refusal, status_code=limit.status)(scope, receive, send)


class _Limit:
    """Counts the bytes of one body."""

    def __init__(self, limit: int, what: str) -> None:
        self.limit, self.what, self.received = limit, what, 0
        self.refusal: str | None = None
        self.status = 413

    def announce(self, length: str | None) -> None:
        """Refuses by Content-Length, before the body is there."""
        if length is not None and length.isdecimal() and int(length) > self.limit:
            self.refuse_size()

    def take(self, chunk: bytes) -> bool:
        """May the application have these bytes?"""
        self.received += len(chunk)
        if self.received > self.limit:
            self.refuse_size()
        return self.refusal is None

    def refuse_size(self) -> None:
        self.refusal = f"{self.what} may have at most {self.limit:,} bytes: send less at a time."


class _UploadLimit(_Limit):
    """Looks at the parts of an upload too, by the parser that Gradio uses: both see the same."""

    def __init__(self, limit: int, max_files: int, boundary: bytes) -> None:
        super().__init__(limit, "An upload")
        self.room: Room | None = None
        self.max_files, self.parts, self.field_bytes = max_files, 0, 0
        self.name, self.value, self.is_file = b"", b"", False
        callbacks = {
            "on_part_begin": self.begin_part,
            "on_header_field": self.add_name,
            "on_header_value": self.add_value,
            "on_header_end": self.end_header,
            "on_part_data": self.add_data,
        }
        try:
            self.parser = MultipartParser(boundary, callbacks)
        except FormParserError:
            self.refusal = "The boundary between the parts of the upload is too long: use a shorter one."

    def take(self, chunk: bytes) -> bool:
        if super().take(chunk):
            with suppress(MultipartParseError):  # Gradio stops here too, and answers that it is malformed
                self.parser.write(chunk)
        if self.refusal is None and self.room is not None and not self.room.take(len(chunk)):
            self.refuse_room()
        return self.refusal is None

    def announce(self, length: str | None) -> None:
        super().announce(length)
        if self.room is not None and self.room.refusal is not None:
            self.refuse_room()

    def refuse_room(self) -> None:
        self.refusal, self.status = self.room.refusal, 507

    def begin_part(self) -> None:
        self.parts, self.is_file = self.parts + 1, False
        if self.parts > self.max_files:
            self.refusal = f"An upload may have at most {self.max_files:,} files: send fewer at a time."

    def add_name(self, data: bytes, start: int, end: int) -> None:
        self.name += data[start:end]

    def add_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def end_header(self) -> None:
        if self.name.lower() == b"content-disposition":
            self.is_file = b"filename" in parse_options_header(self.value)[1]
        self.name = self.value = b""

    def add_data(self, data: bytes, start: int, end: int) -> None:
        if not self.is_file:
            self.field_bytes += end - start
            if self.field_bytes > FIELD_BYTES:
                self.refusal = f"The fields of an upload may have at most {FIELD_BYTES:,} bytes: send files as files."
