"""A small Hub on loopback, enough for the real huggingface_hub client, with faults to order.

Repos of models, data sets ("datasets/user/name") and Spaces ("spaces/user/name") live in memory: commits with their
files, branches, and stored LFS objects; jobs too, which nobody runs. `POST /_test/fault` orders faults, `/_test/change`
changes files behind everybody's back, `/_test/job` a job's stage, and `GET /_test/state` tells all of it.
Run as a program it prints its address: `python -m tests.hub.server`.
"""

from __future__ import annotations

import socket
from typing import Any

import uvicorn
from starlette.applications import Starlette

from tests.hub import control, jobs, repos, uploads
from tests.hub.state import TOKENS, Hub

__all__ = ["TOKENS", "Hub", "make_app"]


def make_app(hub: Hub) -> Starlette:
    """The application, which notes every request but those of the tests in the log of the hub."""
    # Jobs before repos: /api/jobs/{user}/{job} would be taken for a repo of the kind "jobs".
    parts = (control, jobs, repos, uploads)
    app = Starlette(routes=[route for part in parts for route in part.routes(hub)])

    async def logged(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not scope["path"].startswith("/_test"):
            hub.log.append(f"{scope['method']} {scope['path']}")
        await app(scope, receive, send)

    return logged  # type: ignore[return-value]


if __name__ == "__main__":
    # TCP by name: only then asyncio sends at once (TCP_NODELAY), instead of 40 ms later, when the client acknowledges.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)  # whoever reads the address may call at once
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(make_app(Hub()), log_level="critical", access_log=False)).run([listener])
