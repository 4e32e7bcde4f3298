"""What a browser is told: who may frame the page, which scripts may run; notices that are text, not HTML."""

from __future__ import annotations

import ast
import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from starlette.responses import HTMLResponse, JSONResponse, StreamingResponse

from altub.errors import DataError
from altub.ui.errors import notice, show_errors
from altub.ui.launch import ServerOptions, middleware
from altub.ui.server.headers import SecurityHeaders, inline_scripts, policy
from altub.ui.theme import HEAD
from tests.sources import PACKAGE


def get(answer: Any, path: str = "/", **options: Any) -> httpx.Response:
    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app=SecurityHeaders(answer, **options))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path)

    return asyncio.run(call())


def hashed(script: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"


def test_every_answer_has_the_headers() -> None:
    for answer in (JSONResponse({}), HTMLResponse("<p>"), JSONResponse({}, status_code=403)):
        headers = get(answer).headers
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"


def test_inline_scripts_of_the_page_are_allowed_by_their_hashes_and_no_others() -> None:
    html = "<script>a()</script><SCRIPT type='module' src='x.js'></SCRIPT><script x>\nb()\n</script ><p onclick='c()'>"
    allowed = get(HTMLResponse(html), scripts=[b"own()"]).headers["Content-Security-Policy"]
    for script in (b"own()", b"a()", b"\nb()\n"):
        assert hashed(script) in allowed
    assert allowed.count("sha256-") == 3
    scripts = next(part for part in allowed.split("; ") if part.startswith("script-src "))
    assert "unsafe-inline" not in scripts and "http" not in scripts
    assert "script-src-attr 'none'" in allowed and "object-src 'none'" in allowed and "base-uri 'self'" in allowed


def test_a_page_in_pieces_arrives_whole() -> None:
    pieces = [b"<script>a", b"()</scr", b"ipt><p>end"]
    answer = get(StreamingResponse(iter(pieces), media_type="text/html"))
    assert answer.content == b"".join(pieces)
    assert hashed(b"a()") in answer.headers["Content-Security-Policy"]


def test_files_of_visitors_are_no_pages() -> None:
    answer = get(JSONResponse({}), "/gradio_api/file=/tmp/a.svg")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_only_a_space_is_framed_by_the_site_around_it() -> None:
    assert "frame-ancestors 'none'" in policy([])
    (own, *_), (space, *_) = middleware(ServerOptions()), middleware(ServerOptions(host="0.0.0.0", space=True))
    assert own.kwargs["embedded_by"] is None and space.kwargs["embedded_by"] == "https://huggingface.co"
    assert own.kwargs["scripts"] == inline_scripts(HEAD.encode()) != []
    answer = get(HTMLResponse("<p>"), **space.kwargs)
    assert "X-Frame-Options" not in answer.headers
    assert "frame-ancestors https://huggingface.co" in answer.headers["Content-Security-Policy"]


# Notices.


def test_a_notice_is_text() -> None:
    @show_errors("Failed")
    def handler() -> None:
        raise DataError('<img src=x onerror="a()"> & <input>.png is not an image.')

    with pytest.raises(gr.Error) as caught:
        handler()
    assert caught.value.message == '&lt;img src=x onerror="a()"&gt; &amp; &lt;input&gt;.png is not an image.'


def test_a_notice_tells_no_paths_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALTUB_RUNS", "ALTUB_DATA", "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    text = f"{tmp_path}/ALTUB_RUNS/a/b, {tmp_path}/ALTUB_DATA and {tmp_path}/GRADIO_TEMP_DIR/c are full."
    assert notice(text) == "runs/a/b, data and temporary files/c are full."
    assert notice("/parts/lids is empty.") == "/parts/lids is empty."


@pytest.mark.parametrize("path", sorted((PACKAGE / "ui").rglob("*.py")), ids=lambda path: path.name)
def test_every_notice_is_a_constant_or_escaped(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        shows = isinstance(node, ast.Call) and any(
            ast.unparse(part) in {"gr.Error", "gr.Warning", "gr.Info"} for part in ast.walk(node.func)
        )
        if shows and node.args:
            text = ast.unparse(node.args[0])
            constant = isinstance(node.args[0], ast.Constant | ast.IfExp)
            assert constant or text.startswith("notice("), f"line {node.lineno}: {text} is shown as HTML"
