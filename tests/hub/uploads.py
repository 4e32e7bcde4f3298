"""Uploads: the check before them, LFS objects, and the commit that takes them in."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.hub.state import DATASET_SUFFIXES, LFS_SUFFIXES, Hub, Stored, base, error, find, key, may_write, state_of

__all__ = ["routes"]

ONE = "/api/{kind}/{user}/{name}"


def routes(hub: Hub) -> list[Route]:
    """Endpoints that write."""

    async def preupload(request: Request) -> Response:
        repo = find(hub, request)
        if isinstance(repo, Response):
            return repo
        if not may_write(request):
            return error(403, words="Forbidden: pass a token with write access")
        files = repo.commits[state_of(repo, request.path_params["rev"])]
        answer = []
        for file in (await request.json())["files"]:
            stored = files.get(file["path"])
            suffixes = DATASET_SUFFIXES if request.path_params["kind"] == "datasets" else LFS_SUFFIXES
            mode = "lfs" if file["path"].endswith(suffixes) else "regular"
            answer.append(
                {
                    "path": file["path"],
                    "uploadMode": mode,
                    "shouldIgnore": False,
                    "oid": stored.etag if stored else None,
                }
            )
        return JSONResponse({"files": answer})

    async def lfs_batch(request: Request) -> Response:
        objects = []
        for wish in (await request.json())["objects"]:
            row: dict[str, Any] = {"oid": wish["oid"], "size": wish["size"]}
            if wish["oid"] not in hub.objects:
                row["actions"] = {"upload": {"href": f"{base(request)}/_lfs/{wish['oid']}"}}
            objects.append(row)
        return JSONResponse({"transfer": "basic", "objects": objects})

    async def lfs_put(request: Request) -> Response:
        if hub.take("drop_upload"):
            async for _chunk in request.stream():
                raise ConnectionResetError("ordered by the test: the connection goes away in the middle")
        content = await request.body()
        if hashlib.sha256(content).hexdigest() != request.path_params["oid"]:
            return error(400, words="the content is not what its name says")
        hub.objects[request.path_params["oid"]] = content
        return Response()

    async def commit(request: Request) -> Response:
        repo = find(hub, request)
        if isinstance(repo, Response):
            return repo
        if not may_write(request):
            return error(403, words="Forbidden: pass a token with write access")
        branch_name = unquote(request.path_params["rev"])
        if hub.take("race"):  # somebody else is faster
            repo.commit(branch_name, {**repo.commits[repo.branches[branch_name]], "other.txt": Stored(b"hello", False)})
        parent = repo.branches[branch_name]
        files = dict(repo.commits[parent])
        for line in (await request.body()).splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header" and value.get("parentCommit") not in (None, parent):
                return error(412, words="A commit has happened since. Please refresh and try again.")
            if entry["key"] == "file":
                files[value["path"]] = Stored(base64.b64decode(value["content"]), False)
            elif entry["key"] == "deletedFile":
                files.pop(value["path"], None)
            elif entry["key"] == "lfsFile":
                if value["oid"] not in hub.objects:
                    return error(400, words="LFS pointer pointed to a file that does not exist")
                files[value["path"]] = Stored(hub.objects[value["oid"]], True)
        sha = repo.commit(branch_name, files)
        name = key(request)
        return JSONResponse({"success": True, "commitOid": sha, "commitUrl": f"{base(request)}/{name}/commit/{sha}"})

    return [
        Route("/_lfs/{oid}", lfs_put, methods=["PUT"]),
        Route(ONE + "/preupload/{rev:path}", preupload, methods=["POST"]),
        Route(ONE + "/commit/{rev:path}", commit, methods=["POST"]),
        Route("/{user}/{name}.git/info/lfs/objects/batch", lfs_batch, methods=["POST"]),
        Route("/{kind}/{user}/{name}.git/info/lfs/objects/batch", lfs_batch, methods=["POST"]),
    ]
