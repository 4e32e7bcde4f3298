"""The endpoint for machines: what it answers, whom it refuses, and many clients at once."""

from __future__ import annotations

import asyncio
import base64
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.responses import PlainTextResponse

from altub.errors import ConfigError
from altub.inference.model_cache import ModelCache
from altub.labels.inspections import InspectionLog
from altub.line.recorder import Recorder
from altub.runs.run import Run
from altub.ui.launch import make_options, middleware
from altub.ui.server.machine_docs import docs_page, openapi
from altub.ui.server.machines import MachineEndpoint, check_token

TOKEN = "a-token-of-sixteen-or-more"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def models() -> ModelCache:
    return ModelCache(device="cpu")


@pytest.fixture
def picture(data_folder: Path) -> bytes:
    return (data_folder / "weave/test/blot/000.png").read_bytes()


def requests(models: ModelCache, *calls: dict[str, Any], token: str = TOKEN, **settings: Any) -> list[httpx.Response]:
    """Answers to requests that are sent at the same time."""
    options: dict[str, Any] = {"enabled": True, "image_bytes": 1 << 20, **settings}
    app = MachineEndpoint(PlainTextResponse("the page"), models, token, **options)

    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=120) as client:
            wanted = [{"method": "POST", "url": "/v1/inspect", "headers": BEARER, **call} for call in calls]
            return await asyncio.gather(*(client.request(**call) for call in wanted))

    return asyncio.run(send())


def test_an_image_gets_what_the_model_says(runs_folder: Path, trained_run: Run, models: ModelCache, picture: bytes):
    fields = {"map": "png16", "category": "weave"}
    (answer,) = requests(models, {"files": {"image": picture}, "data": fields})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    detector = models.get(runs_folder / trained_run.id / "model").detector
    prediction = detector.predict(picture)
    verdict = prediction.verdict(detector.threshold)
    assert told["score"] == prediction.score and told["p_value"] == prediction.p_value
    assert told["verdict"] == verdict.kind and told["marked_area"] == verdict.marked_area
    assert told["threshold"]["value"] == detector.threshold.value and told["threshold"]["origin"]["kind"] == "held-out"
    assert told["model"]["run"] == trained_run.id and len(told["model"]["weights_sha256"]) == 64
    found = Image.open(io.BytesIO(base64.b64decode(told["map"]["png"])))
    levels = np.asarray(found, np.float64) / 65535
    raw = told["map"]["low"] + levels * (told["map"]["high"] - told["map"]["low"])
    span = told["map"]["high"] - told["map"]["low"]
    np.testing.assert_allclose(raw, prediction.model_map, atol=span / 60_000)
    described = openapi()["paths"]["/v1/inspect"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert set(told) == set(described["properties"])


def test_what_is_inspected_is_logged_under_the_name_that_was_sent(
    runs_folder: Path, trained_run: Run, models: ModelCache, picture: bytes, tmp_path: Path
) -> None:
    recorder = Recorder(lambda: InspectionLog(tmp_path / "log.db"))
    (answer,) = requests(models, {"files": {"image": ("../line/part 7.png", picture)}}, recorder=recorder)
    (one,) = recorder.log.all()
    assert (one.source, one.name, one.score) == ("http", "part 7.png", answer.json()["score"])
    assert one.verdict == answer.json()["verdict"] and one.model == answer.json()["model"]["weights_sha256"]
    assert set(one.statistics) == {"background", "brightness", "red_blue", "green", "sharpness"}


def test_fifty_clients_at_once_get_their_answer(runs_folder: Path, models: ModelCache, data_folder: Path) -> None:
    images = [path.read_bytes() for path in sorted((data_folder / "weave/test").glob("*/*.png"))[:5]]
    answers = requests(models, *({"files": {"image": images[index % 5]}} for index in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    scores = [answer.json()["score"] for answer in answers]
    assert len(set(scores)) == 5 and scores[:5] == scores[45:]


def test_what_is_wrong_is_said(runs_folder: Path, models: ModelCache, picture: bytes) -> None:
    files = {"image": picture}
    calls: list[tuple[int, str, dict[str, Any]]] = [
        (401, "Bearer TOKEN", {"files": files, "headers": {}}),
        (401, "Bearer TOKEN", {"files": files, "headers": {"Authorization": f"Bearer {TOKEN}x"}}),
        (401, "Bearer TOKEN", {"files": files, "headers": {"Authorization": f"Basic {TOKEN}"}}),
        (404, "no run with that id", {"files": files, "data": {"run": "../../etc"}}),
        (404, "no finished training for x", {"files": files, "data": {"category": "x"}}),
        (400, "no image", {"files": {"picture": picture}}),
        (400, "no image", {"data": {"image": "text"}, "files": {"other": b"x"}}),
        (400, "none or png16", {"files": files, "data": {"map": "tiff"}}),
        (400, "cannot be read", {"files": [("image", picture), ("image", picture)]}),
        (415, "multipart/form-data", {"content": picture}),
        (422, "", {"files": {"image": b"no image"}}),
        (413, "at most 1,048,576 bytes", {"files": {"image": b"0" * (2 << 20)}}),
        (405, "POST", {"method": "GET"}),
        (404, "/v1/docs", {"url": "/v1/other"}),
    ]
    answers = requests(models, *(call for *_, call in calls))
    for (status, words, _), answer in zip(calls, answers, strict=True):
        assert (answer.status_code, set(answer.json())) == (status, {"error"}), answer.text
        assert words in answer.json()["error"]


def test_a_large_body_without_a_length_is_cut_off(runs_folder: Path, models: ModelCache) -> None:
    async def body():
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        for _ in range(40):
            yield b"0" * (64 << 10)

    headers = {**BEARER, "Content-Type": "multipart/form-data; boundary=x"}
    (answer,) = requests(models, {"content": body(), "headers": headers})
    assert answer.status_code == 413


def test_without_a_token_only_the_owner_has_it(
    runs_folder: Path, models: ModelCache, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = {"files": {"image": picture}, "headers": {}}
    assert requests(models, call, token="")[0].status_code == 200
    assert requests(models, call, token="", enabled=False)[0].status_code == 403

    def enabled(**options: Any) -> bool:
        (one,) = [item for item in middleware(make_options(**options)) if item.cls is MachineEndpoint]
        return one.kwargs["enabled"]

    monkeypatch.delenv("ALTUB_API_TOKEN", raising=False)
    assert enabled() and not enabled(host="0.0.0.0", no_auth=True) and not enabled(auth="ann:secret", host="0.0.0.0")
    monkeypatch.setenv("ALTUB_API_TOKEN", TOKEN)
    assert enabled(host="0.0.0.0", no_auth=True)
    for bad in ("short", "sixteen characters with spaces", "ä" * 20):
        with pytest.raises(ConfigError, match="ALTUB_API_TOKEN"):
            check_token(bad)


def test_the_page_is_left_alone_and_the_endpoint_described(models: ModelCache) -> None:
    page, docs, described = requests(
        models,
        {"url": "/", "method": "GET", "headers": {}},
        {"url": "/v1/docs", "method": "GET", "headers": {}},
        {"url": "/v1/openapi.json", "method": "GET", "headers": {}},
    )
    assert page.text == "the page" and described.json() == openapi()
    assert docs.text == docs_page() and "<script" not in docs.text and "png16" in docs.text
