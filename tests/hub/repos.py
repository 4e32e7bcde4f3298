"""Repos: made, described, listed and read."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.hub.state import Hub, Repo, Stored, base, describe, error, find, key, state_of, user

__all__ = ["routes"]

ONE = "/api/{kind}/{user}/{name}"


def routes(hub: Hub) -> list[Route]:
    """Endpoints under /api/models, /api/datasets and /api/spaces, and the files of their revisions."""

    async def whoami(request: Request) -> Response:
        name = user(request)
        if name is None:
            return error(401, words="Invalid credentials in Authorization header")
        return JSONResponse({"name": name, "type": "user", "orgs": [], "auth": {"type": "access_token"}})

    async def create(request: Request) -> Response:
        wish = await request.json()
        owner = wish.get("organization") or user(request)
        if user(request) is None:
            return error(401, words="Invalid credentials in Authorization header")
        if owner != user(request):
            return error(403, words="You don't have the rights to create a model under this namespace")
        kind = wish.get("type") or "model"
        name = f"{owner}/{wish['name']}" if kind == "model" else f"{kind}s/{owner}/{wish['name']}"
        if name in hub.repos:
            return JSONResponse({"error": "exists", "url": f"{base(request)}/{name}"}, 409)
        private = bool(wish.get("private")) or wish.get("visibility") == "private"
        hub.repos[name] = Repo(private)
        hub.repos[name].commit("main", {".gitattributes": Stored(b"*.safetensors filter=lfs\n", False)})
        return JSONResponse({"url": f"{base(request)}/{name}", "name": name, "id": name})

    async def branch(request: Request) -> Response:
        repo = find(hub, request)
        if isinstance(repo, Response):
            return repo
        repo.branches[unquote(request.path_params["rev"])] = repo.branches["main"]
        return JSONResponse({})

    async def validate(request: Request) -> Response:
        return JSONResponse({"errors": [], "warnings": []})

    async def info(request: Request) -> Response:
        repo = find(hub, request)
        if isinstance(repo, Response):
            return repo
        sha = state_of(repo, request.path_params.get("rev", "main"))
        if sha is None:
            return error(404, "RevisionNotFound", "Invalid rev id")
        name = f"{request.path_params['user']}/{request.path_params['name']}"
        return JSONResponse(describe(hub, name, repo, sha))

    async def tree(request: Request) -> Response:
        repo = find(hub, request)
        if isinstance(repo, Response):
            return repo
        files = repo.commits[state_of(repo, request.path_params["rev"])]
        rows = []
        for path, stored in files.items():
            row = {"type": "file", "path": path, "size": len(stored.content), "oid": stored.blob_id}
            if stored.lfs:
                row["lfs"] = {"oid": stored.sha256, "size": len(stored.content), "pointerSize": 134}
            rows.append(row)
        return JSONResponse(rows)

    async def hardware(request: Request) -> Response:
        repo = find(hub, request)
        if isinstance(repo, Response):
            return repo
        hub.hardware[key(request)] = wish = (await request.json())["flavor"]
        stage = {"stage": "BUILDING", "hardware": {"current": None, "requested": wish}, "storage": None}
        return JSONResponse(stage)

    async def models(request: Request) -> Response:
        if hub.take("status_list"):
            return error(503, words="ordered by the test")
        asked = request.query_params
        rows = []
        for name, repo in hub.repos.items():
            if name.count("/") > 1:
                continue
            row = describe(hub, name, repo, repo.branches["main"])
            visible = not repo.private or user(request) == row["author"]
            if visible and asked.get("author") in (None, row["author"]) and asked.get("filter") in (None, *row["tags"]):
                rows.append(row)
        return JSONResponse(rows)

    async def resolve(request: Request) -> Response:
        repo = find(hub, request)
        if isinstance(repo, Response):
            return repo
        sha = state_of(repo, request.path_params["rev"])
        if sha is None:
            return error(404, "RevisionNotFound", "Invalid rev id")
        stored = repo.commits[sha].get(request.path_params["path"])
        if stored is None:
            return error(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": sha})
        content = stored.content
        headers = {"X-Repo-Commit": sha, "ETag": f'"{stored.etag}"', "Accept-Ranges": "bytes"}
        if stored.lfs:
            headers |= {"X-Linked-Etag": f'"{stored.sha256}"', "X-Linked-Size": str(len(content))}
        if request.method == "HEAD":
            return Response(headers={**headers, "Content-Length": str(len(content))})
        start = int((request.headers.get("range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        part = content[start:]
        if stored.lfs and hub.take("garble"):
            part = bytes(len(part))
        status = 206 if start else 200
        if stored.lfs and hub.take("truncate"):

            async def half() -> Any:
                yield part[: len(part) // 2]
                raise ConnectionResetError("ordered by the test")

            return StreamingResponse(half(), status, {**headers, "Content-Length": str(len(part))})
        return Response(part, status, headers)

    return [
        Route("/api/whoami-v2", whoami),
        Route("/api/repos/create", create, methods=["POST"]),
        Route("/api/validate-yaml", validate, methods=["POST"]),
        Route("/api/models", models),
        Route(ONE, info),
        Route(ONE + "/hardware", hardware, methods=["POST"]),
        Route(ONE + "/tree/{rev:path}", tree),
        Route(ONE + "/revision/{rev:path}", info),
        Route(ONE + "/branch/{rev:path}", branch, methods=["POST"]),
        Route("/{kind}/{user}/{name}/resolve/{rev}/{path:path}", resolve, methods=["GET", "HEAD"]),
        Route("/{user}/{name}/resolve/{rev}/{path:path}", resolve, methods=["GET", "HEAD"]),
    ]
