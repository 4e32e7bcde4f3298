"""How a model on the Hub is named: "user/name", with "@branch", "@tag" or "@commit" behind it where it matters."""

from __future__ import annotations

import re
from dataclasses import dataclass

from altub.hub.errors import HubError

__all__ = ["Reference", "parse_reference"]

# Name by name what the Hub takes; ".." and "--" are refused there as well (they would be ambiguous in the cache).
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_REPO = re.compile(rf"{_NAME}/{_NAME}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_ADDRESS = re.compile(r"^https?://[^/]+/")


@dataclass(frozen=True)
class Reference:
    """A repo on the Hub, and which state of it; revision None is its newest."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


def parse_reference(text: str, revision: str | None = None) -> Reference:
    """The repo that was typed; also the address of its page.

    Args:
        revision: for names that came without one.

    Raises:
        HubError: that is no name of a repo or of a revision.
    """
    repo, at, given = _ADDRESS.sub("", text.strip()).strip("/").partition("@")
    page, tree, branch = repo.partition("/tree/")
    if tree and not at:
        repo, given = page, branch
    revision = given or revision or None
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo or repo.endswith(".git"):
        raise HubError(
            f"{text!r} is not the name of a repo: write it as user/name, with letters, digits, '-', '_' and '.' only."
        )
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise HubError(f"{revision!r} is not the name of a revision: give a branch, a tag or a commit.")
    return Reference(repo, revision)
