"""The state of the small Hub: repos with commits, stored objects, jobs, faults; and how a request reaches them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

__all__ = [
    "DATASET_SUFFIXES",
    "LFS_SUFFIXES",
    "TOKENS",
    "Hub",
    "Repo",
    "Stored",
    "base",
    "describe",
    "error",
    "find",
    "key",
    "may_write",
    "state_of",
    "user",
]

#: Token -> user.
TOKENS = {"hf_secretTokenOfAnna0123456789": "anna", "hf_secretTokenOfBen0123456789": "ben"}
LFS_SUFFIXES = (".safetensors",)
#: Of data sets, whose .gitattributes on the Hub names pictures too.
DATASET_SUFFIXES = (*LFS_SUFFIXES, ".png", ".jpg")


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


def base(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def find(hub: Hub, request: Request) -> Repo | Response:
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


def describe(hub: Hub, name: str, repo: Repo, sha: str) -> dict[str, Any]:
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
