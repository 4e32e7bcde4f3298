"""A plain HTTP endpoint for machines, beside the page: one image in, one JSON answer out.

    curl -H "Authorization: Bearer $ALTUB_API_TOKEN" -F image=@part.png -F run=latest http://HOST:PORT/v1/inspect

`/v1/openapi.json` describes it for programs and `/v1/docs` for people. With `ALTUB_API_TOKEN` every request needs the
token; without one only the page that its owner alone reaches has the endpoint. Images are bounded as uploads of the
page are, and a few requests are worked on at a time while others wait.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from altub.data import opened
from altub.errors import AltUBError, ConfigError, ImageError, RunError
from altub.files import printable
from altub.inference.model_cache import ModelCache
from altub.inference.model_files import read_config
from altub.line.recorder import MACHINES, Recorder, inspection_of
from altub.line.statistics import measure
from altub.ui.dropped import shown_name
from altub.ui.offers import LATEST, find_model
from altub.ui.server.machine_docs import docs_page, openapi

__all__ = ["MachineEndpoint", "check_token", "inspect_bytes"]

PREFIX = "/v1/"
INSPECT_PATH, OPENAPI_PATH, DOCS_PATH = "/v1/inspect", "/v1/openapi.json", "/v1/docs"
AT_WORK = 20  # requests
FIELD_BYTES = 4096  # of a field that is no file
OVERHEAD = 64 << 10  # bytes of a request beside its image
SHORTEST_TOKEN = 16  # characters
DEEPEST = 65_535  # of a 16-bit picture


def check_token(token: str) -> str:
    """The token itself; empty where there is none.

    Raises:
        ConfigError: it is too short to be a secret, or cannot stand in a header.
    """
    if token and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
        raise ConfigError(
            f"ALTUB_API_TOKEN must have at least {SHORTEST_TOKEN} characters, printable ones of ASCII without spaces: "
            "take a random one, such as `openssl rand -hex 32` prints."
        )
    return token


class MachineEndpoint:
    """ASGI middleware that answers `/v1/...` and passes everything else on.

    Args:
        app: the page.
        models: the loaded models.
        token: that a request must bear; empty: none, for a page that only its owner reaches.
        enabled: False answers that a token must be set.
        image_bytes: largest image file.
        recorder: logs what is inspected.
    """

    def __init__(
        self,
        app: ASGIApp,
        models: ModelCache,
        token: str,
        enabled: bool,
        image_bytes: int,
        recorder: Recorder | None = None,
    ) -> None:
        self.app, self.models, self.enabled, self.image_bytes = app, models, enabled, image_bytes
        self.recorder = recorder
        self._token = check_token(token)
        self._at_work: asyncio.Semaphore | None = None  # made in the loop that serves

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self.app(scope, receive, send)
            return
        counted = _Counted(receive, self.image_bytes + OVERHEAD)
        try:
            answer = await self._answer(Request(scope, counted))
        except _ProblemError as problem:
            answer = problem.response()
        except ClientDisconnect:
            if not counted.is_too_large:
                return
            answer = _ProblemError(413, f"An image may have at most {self.image_bytes:,} bytes.").response()
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        if path == DOCS_PATH:
            return HTMLResponse(docs_page())
        if path == OPENAPI_PATH:
            return JSONResponse(openapi())
        if path != INSPECT_PATH:
            raise _ProblemError(404, f"There is no {printable(path[:100])}: see {DOCS_PATH}.")
        if request.method != "POST":
            raise _ProblemError(405, "POST an image to it as multipart/form-data.", {"Allow": "POST"})
        self._check(request)
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise _ProblemError(415, "Send the image as the field `image` of multipart/form-data.")
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.image_bytes + OVERHEAD:
            raise _ProblemError(413, f"An image may have at most {self.image_bytes:,} bytes.")
        if self._at_work is None:
            self._at_work = asyncio.Semaphore(AT_WORK)
        async with self._at_work:  # before the body is read: those who wait take no memory
            return await self._inspect(request)

    def _check(self, request: Request) -> None:
        """Does the request bear the token?"""
        if not self.enabled:
            raise _ProblemError(403, "The endpoint for machines is off: start the server with ALTUB_API_TOKEN.")
        if not self._token:
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token.encode()):
            raise _ProblemError(
                401, "Send the token of this server: Authorization: Bearer TOKEN.", {"WWW-Authenticate": "Bearer"}
            )

    async def _inspect(self, request: Request) -> Response:
        try:
            form = await request.form(max_files=1, max_fields=8, max_part_size=FIELD_BYTES)
        except (MultiPartException, HTTPException) as error:  # malformed, or too many parts
            told = error.detail if isinstance(error, HTTPException) else error.message
            raise _ProblemError(400, f"The form cannot be read: {told}") from error
        try:
            image = form.get("image")
            if not isinstance(image, UploadFile):
                raise _ProblemError(400, "There is no image: send a file as the field `image`.")
            if (image.size or 0) > self.image_bytes:
                raise _ProblemError(413, f"An image may have at most {self.image_bytes:,} bytes.")
            run, category, wanted = (
                str(form.get(name) or default) for name, default in (("run", LATEST), ("category", ""), ("map", "none"))
            )
            if wanted not in ("none", "png16"):
                raise _ProblemError(400, "The field `map` is none or png16.")
            content, name = await image.read(), shown_name(image.filename or "") or "image"
        finally:
            await form.close()  # removes what was spooled to the disk
        try:
            chosen = content, run, category, wanted == "png16", name, self.recorder
            answer = await run_in_threadpool(inspect_bytes, self.models, *chosen)
        except RunError as error:
            raise _ProblemError(404, str(error)) from error
        except ImageError as error:
            raise _ProblemError(422, str(error)) from error
        except AltUBError as error:
            raise _ProblemError(500, str(error)) from error
        return JSONResponse(answer)


def inspect_bytes(
    models: ModelCache,
    content: bytes,
    run: str,
    category: str,
    with_map: bool,
    name: str = "image",
    recorder: Recorder | None = None,
) -> dict[str, Any]:
    """The answer to one image, as `/v1/openapi.json` describes it; it is logged under its name.

    Raises:
        RunError: there is no such run.
        ImageError: the content is no image.
        ModelError: the model cannot be used.
    """
    chosen = find_model(run, category=category)
    loaded, version = models.get(chosen.model_dir), read_config(chosen.model_dir).version
    detector, threshold = loaded.detector, loaded.detector.threshold
    calibration = detector.require_calibration()
    with opened(content, pixel_range=detector.config.pixel_range) as photo:
        prediction = detector.predict(photo)
        statistics = measure(photo, prediction.model_map).to_dict() if recorder is not None else {}
    verdict = prediction.verdict(threshold)
    number = None if version is None else version.number
    if recorder is not None:
        about = {"sha256": hashlib.sha256(content).hexdigest(), "model": loaded.weights_sha256, "version": number}
        found = MACHINES, name, prediction.score, prediction.p_value, verdict
        recorder.add([inspection_of(*found, **about, statistics=statistics)])
    answer = {
        "verdict": verdict.kind,
        "is_anomalous": verdict.is_anomalous,
        "reasons": list(verdict.reasons),
        "anomaly_score": calibration.anomaly_score(prediction.score),
        "score": prediction.score,
        "p_value": prediction.p_value,
        "marked_area": verdict.marked_area,
        "threshold": {
            "anomaly_value": calibration.anomaly_score(threshold.value),
            **threshold.to_dict(),
            "promise": threshold.origin.promise,
            "warning": threshold.warning,
        },
        "model": {
            "run": chosen.id,
            "category": detector.info.category,
            "version": number,
            "weights_sha256": loaded.weights_sha256,
        },
    }
    if with_map:
        answer["map"] = _map_of(prediction.model_map)
    return answer


def _map_of(model_map: np.ndarray) -> dict[str, Any]:
    """The map at the model's input size as a 16-bit PNG; `low` + v / 65535 (`high` - `low`) is a pixel's raw value."""
    low, high = float(model_map.min()), float(model_map.max())
    span = max(high - low, 1e-12)
    levels = np.round((model_map.astype(np.float64) - low) / span * DEEPEST).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG")
    height, width = model_map.shape
    png = base64.b64encode(file.getvalue()).decode()
    return {"png": png, "width": width, "height": height, "low": low, "high": low + span}


class _ProblemError(Exception):
    """An answer that says what is wrong."""

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, headers

    def response(self) -> Response:
        return JSONResponse({"error": self.sentence}, self.status, self.headers)


class _Counted:
    """Passes a body on until it is too large."""

    def __init__(self, receive: Callable[[], Any], limit: int) -> None:
        self._receive, self._left, self.is_too_large = receive, limit, False

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                self.is_too_large = True
                return {"type": "http.disconnect"}
        return message
