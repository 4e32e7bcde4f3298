"""A small Hub on loopback, enough for the real huggingface_hub client, with faults to order.

Repos of models, data sets ("datasets/user/name") and Spaces ("spaces/user/name") live in memory: commits with their
files, branches, and stored LFS objects; jobs too, which nobody runs. `POST /_test/fault` orders faults, `/_test/change`
changes files behind everybody's back, `/_test/job` a job's stage, and `GET /_test/state` tells all of it.
Run as a program it prints its address: `python server.py`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

__all__ = ["TOKENS", "Hub", "make_app"]

#: Token -> user.
TOKENS = {"hf_secretTokenOfAnna0123456789": "anna", "hf_secretTokenOfBen0123456789": "ben"}
LFS_SUFFIXES = (".safetensors",)


@dataclass
class Stored:
    """One file of a commit."""

    content: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def blob_id(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.blob_id


@dataclass
class Repo:
    private: bool
    gated: bool = False
    commits: dict[str, dict[str, Stored]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, Stored]) -> str:
        names = "".join(f"{name}{stored.etag}" for name, stored in sorted(files.items()))
        sha = hashlib.sha1(f"{len(self.commits)}{self.branches.get(branch)}{names}".encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha


class Hub:
    """The state behind the endpoints. `faults`: kind -> what is left of it."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: dict[str, Any] = {}
        self.log: list[str] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.hardware: dict[str, str] = {}

    def take(self, fault: str) -> Any:
        """Is this fault due? Numbers count down to nothing."""
        value = self.faults.get(fault)
        if isinstance(value, int) and not isinstance(value, bool):
            if value <= 0:
                return None
            self.faults[fault] = value - 1
        return value


def make_app(hub: Hub) -> Starlette:
    def user(request: Request) -> str | None:
        return TOKENS.get(request.headers.get("authorization", "").removeprefix("Bearer "))

    def error(status: int, code: str | None = None, words: str = "", **headers: str) -> Response:
        headers |= {"X-Error-Code": code} if code else {}
        headers |= {"X-Error-Message": words} if words else {}
        return JSONResponse({"error": words or code or "error"}, status, headers)

    def key(request: Request) -> str:
        kind = request.path_params.get("kind", "models")
        name = f"{request.path_params['user']}/{request.path_params['name']}"
        return name if kind == "models" else f"{kind}/{name}"

    def find(request: Request) -> Repo | Response:
        name = key(request)
        status = hub.take("status")
        if status:
            return error(int(status), words="ordered by the test", **hub.faults.get("headers", {}))
        if request.headers.get("authorization") and user(request) is None:
            return error(401, words="Invalid credentials in Authorization header")
        repo = hub.repos.get(name)
        owner = request.path_params["user"]
        if repo is None or (repo.private and user(request) != owner):
            return error(404 if user(request) else 401, "RepoNotFound", "Repository not found")
        if repo.gated and user(request) != owner:
            return error(403, "GatedRepo", "Access is restricted")
        return repo

    def may_write(request: Request) -> bool:
        return user(request) == request.path_params["user"]

    def state_of(repo: Repo, revision: str) -> str | None:
        revision = unquote(revision)
        return repo.branches.get(revision) or (revision if revision in repo.commits else None)

    def describe(name: str, repo: Repo, sha: str) -> dict[str, Any]:
        files = repo.commits[sha]
        siblings = []
        for path, stored in files.items():
            one: dict[str, Any] = {"rfilename": path, "size": len(stored.content), "blobId": stored.blob_id}
            if stored.lfs:
                one["lfs"] = {"sha256": stored.sha256, "size": len(stored.content), "pointerSize": 134}
            siblings.append(one)
        siblings += [{"rfilename": path, "size": 1, "blobId": "0" * 40} for path in hub.faults.get("list", [])]
        card = files["README.md"].content.decode() if "README.md" in files else ""
        front = yaml.safe_load(card.split("---")[1]) if card.startswith("---") else {}
        return {
            "_id": name,
            "id": name,
            "modelId": name,
            "author": name.split("/")[0],
            "sha": sha,
            "private": repo.private,
            "gated": "auto" if repo.gated else False,
            "disabled": False,
            "downloads": 3,
            "likes": 0,
            "lastModified": "2026-01-02T03:04:05.000Z",
            "createdAt": "2026-01-02T03:04:05.000Z",
            "tags": (front or {}).get("tags", []),
            "cardData": front or None,
            "siblings": siblings,
        }

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
        repo = find(request)
        if isinstance(repo, Response):
            return repo
        repo.branches[unquote(request.path_params["rev"])] = repo.branches["main"]
        return JSONResponse({})

    async def validate(request: Request) -> Response:
        return JSONResponse({"errors": [], "warnings": []})

    async def info(request: Request) -> Response:
        repo = find(request)
        if isinstance(repo, Response):
            return repo
        sha = state_of(repo, request.path_params.get("rev", "main"))
        if sha is None:
            return error(404, "RevisionNotFound", "Invalid rev id")
        name = f"{request.path_params['user']}/{request.path_params['name']}"
        return JSONResponse(describe(name, repo, sha))

    async def tree(request: Request) -> Response:
        repo = find(request)
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
        repo = find(request)
        if isinstance(repo, Response):
            return repo
        hub.hardware[key(request)] = wish = (await request.json())["flavor"]
        stage = {"stage": "BUILDING", "hardware": {"current": None, "requested": wish}, "storage": None}
        return JSONResponse(stage)

    async def run_job(request: Request) -> Response:
        owner = request.path_params["user"]
        if user(request) is None:
            return error(401, words="Invalid credentials in Authorization header")
        if user(request) != owner:
            return error(403, words="Forbidden: pass a token with the right to run jobs")
        if hub.take("status_jobs"):
            return error(int(hub.faults["job_status"]), words="ordered by the test")
        wish = await request.json()
        job = f"{len(hub.jobs):024x}"
        hub.jobs[job] = {"request": wish, "owner": owner, "stage": "SCHEDULING", "message": None}
        return JSONResponse(describe_job(job))

    def describe_job(job: str) -> dict[str, Any]:
        known = hub.jobs[job]
        return {
            "id": job,
            "createdAt": "2026-01-02T03:04:05.000Z",
            "dockerImage": known["request"].get("dockerImage"),
            "command": known["request"]["command"],
            "arguments": [],
            "environment": known["request"]["environment"],
            "secrets": dict.fromkeys(known["request"].get("secrets", {}), None),
            "flavor": known["request"]["flavor"],
            "status": {"stage": known["stage"], "message": known["message"]},
            "owner": {"id": known["owner"], "name": known["owner"], "type": "user"},
        }

    async def job_of(request: Request) -> Response:
        if hub.take("status_jobs"):
            return error(int(hub.faults["job_status"]), words="ordered by the test")
        job, owner = request.path_params["job"], request.path_params["user"]
        if user(request) != owner or hub.jobs.get(job, {}).get("owner") != owner:
            return error(404, words="Job not found")
        if request.method == "POST":
            hub.jobs[job]["stage"] = "CANCELED"
        return JSONResponse(describe_job(job))

    async def set_job(request: Request) -> Response:
        wish = await request.json()
        hub.jobs[wish.pop("job")].update(wish)
        return JSONResponse({})

    async def models(request: Request) -> Response:
        if hub.take("status_list"):
            return error(503, words="ordered by the test")
        asked = request.query_params
        rows = []
        for name, repo in hub.repos.items():
            if name.count("/") > 1:
                continue
            row = describe(name, repo, repo.branches["main"])
            visible = not repo.private or user(request) == row["author"]
            if visible and asked.get("author") in (None, row["author"]) and asked.get("filter") in (None, *row["tags"]):
                rows.append(row)
        return JSONResponse(rows)

    async def preupload(request: Request) -> Response:
        repo = find(request)
        if isinstance(repo, Response):
            return repo
        if not may_write(request):
            return error(403, words="Forbidden: pass a token with write access")
        files = repo.commits[state_of(repo, request.path_params["rev"])]
        answer = []
        for file in (await request.json())["files"]:
            stored = files.get(file["path"])
            mode = "lfs" if file["path"].endswith(LFS_SUFFIXES) else "regular"
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
        repo = find(request)
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

    async def resolve(request: Request) -> Response:
        repo = find(request)
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

    def base(request: Request) -> str:
        return str(request.base_url).rstrip("/")

    one = "/api/{kind}/{user}/{name}"
    routes = [
        Route("/_test/fault", order, methods=["POST"]),
        Route("/_test/change", change, methods=["POST"]),
        Route("/_test/state", tell),
        Route("/_lfs/{oid}", lfs_put, methods=["PUT"]),
        Route("/api/whoami-v2", whoami),
        Route("/api/repos/create", create, methods=["POST"]),
        Route("/api/validate-yaml", validate, methods=["POST"]),
        Route("/api/models", models),
        Route("/_test/job", set_job, methods=["POST"]),
        Route("/api/jobs/{user}", run_job, methods=["POST"]),
        Route("/api/jobs/{user}/{job}", job_of),
        Route("/api/jobs/{user}/{job}/cancel", job_of, methods=["POST"]),
        Route(one, info),
        Route(one + "/hardware", hardware, methods=["POST"]),
        Route(one + "/tree/{rev:path}", tree),
        Route(one + "/revision/{rev:path}", info),
        Route(one + "/branch/{rev:path}", branch, methods=["POST"]),
        Route(one + "/preupload/{rev:path}", preupload, methods=["POST"]),
        Route(one + "/commit/{rev:path}", commit, methods=["POST"]),
        Route("/{user}/{name}.git/info/lfs/objects/batch", lfs_batch, methods=["POST"]),
        Route("/{kind}/{user}/{name}.git/info/lfs/objects/batch", lfs_batch, methods=["POST"]),
        Route("/{kind}/{user}/{name}/resolve/{rev}/{path:path}", resolve, methods=["GET", "HEAD"]),
        Route("/{user}/{name}/resolve/{rev}/{path:path}", resolve, methods=["GET", "HEAD"]),
    ]
    app = Starlette(routes=routes)

    async def logged(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not scope["path"].startswith("/_test"):
            hub.log.append(f"{scope['method']} {scope['path']}")
        await app(scope, receive, send)

    return logged  # type: ignore[return-value]


if __name__ == "__main__":
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)  # whoever reads the address may call at once
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(make_app(Hub()), log_level="critical", access_log=False)).run([listener])
