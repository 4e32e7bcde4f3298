"""The branch of a repo that a push goes to: named, made where it is missing, and as it is now."""

from __future__ import annotations

import re
from typing import Any, Literal

from altub.hub.errors import HubError, not_signed_in
from altub.hub.fetch import ANSWER_TIMEOUT, Token
from altub.hub.reference import Reference, parse_reference

__all__ = ["newest_state", "parse_branch", "require_token"]

_COMMIT = re.compile(r"[0-9a-f]{40}")


def parse_branch(repo: str, revision: str | None = None) -> Reference:
    """The repo and the branch that a push goes to.

    Raises:
        HubError: that is no name of a repo, or the revision is a commit.
    """
    where = parse_reference(repo, revision)
    if where.revision is not None and _COMMIT.fullmatch(where.revision):
        raise HubError("A push goes to a branch, not to a commit: leave the revision out, or name a branch.")
    return where


def require_token(token: Token) -> None:
    """
    Raises:
        HubError: there is no token to push with.
    """
    from huggingface_hub import get_token

    if token is False or (token is None and get_token() is None):
        raise not_signed_in()


def newest_state(
    api: Any, where: Reference, token: Token, *, private: bool, kind: Literal["model", "dataset"] = "model"
) -> Any:
    """What the client tells of the newest commit of a branch; repo and branch are made where they are missing.

    Args:
        api: an `HfApi`.
        private: make the repo as a private one.

    Raises:
        HubError: the repo should be private, but is there and public.
        what the client raises; see `explain_hub_errors`.
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    def look(revision: str | None) -> Any:
        return api.repo_info(
            where.repo, repo_type=kind, revision=revision, files_metadata=True, token=token, timeout=ANSWER_TIMEOUT
        )

    try:
        info = look(None)
    except GatedRepoError:
        raise
    except RepositoryNotFoundError:
        api.create_repo(where.repo, repo_type=kind, private=private, exist_ok=True, token=token)
        info = look(None)
    if private and info.private is False:
        public = ", allow it with --public" if kind == "dataset" else ""
        raise HubError(
            f"{where.repo} already exists and is public: push to another name{public}, or make it private in its "
            "settings on the Hub first. Nothing was pushed."
        )
    if where.revision is None:
        return info
    try:
        return look(where.revision)
    except RevisionNotFoundError:
        api.create_branch(where.repo, repo_type=kind, branch=where.revision, exist_ok=True, token=token)
        return look(where.revision)
