"""Endpoints for the tests alone: faults to order, files and jobs to change, the whole state to read."""

from __future__ import annotations

import base64

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.hub.state import LFS_SUFFIXES, Hub, Repo, Stored

__all__ = ["routes"]


def routes(hub: Hub) -> list[Route]:
    """Endpoints under /_test."""

    async def order(request: Request) -> Response:
        hub.faults = await request.json()
        return JSONResponse({})

    async def change(request: Request) -> Response:
        wish = await request.json()
        repo = hub.repos.setdefault(wish["repo"], Repo(False))
        repo.private = wish.get("private", repo.private)
        if "gated" in wish:
            repo.gated = wish["gated"]
        branch_name = wish.get("branch", "main")
        parent = repo.branches.get(branch_name)
        files = dict(repo.commits[parent]) if parent else {}
        for path, content in wish.get("files", {}).items():
            files[path] = Stored(base64.b64decode(content), path.endswith(LFS_SUFFIXES))
        for path in wish.get("remove", []):
            files.pop(path, None)
        return JSONResponse({"sha": repo.commit(branch_name, files)})

    async def set_job(request: Request) -> Response:
        wish = await request.json()
        hub.jobs[wish.pop("job")].update(wish)
        return JSONResponse({})

    async def tell(request: Request) -> Response:
        repos = {
            name: {
                "private": repo.private,
                "branches": repo.branches,
                "commits": {
                    sha: {path: base64.b64encode(stored.content).decode() for path, stored in files.items()}
                    for sha, files in repo.commits.items()
                },
            }
            for name, repo in hub.repos.items()
        }
        return JSONResponse({"repos": repos, "log": hub.log, "jobs": hub.jobs, "hardware": hub.hardware})

    return [
        Route("/_test/fault", order, methods=["POST"]),
        Route("/_test/change", change, methods=["POST"]),
        Route("/_test/state", tell),
        Route("/_test/job", set_job, methods=["POST"]),
    ]
