"""Turns every failure of the Hub into an error message that says what to do.

The client raises errors of its own, of its HTTP library (which differs by version: httpx, httpx2) and of the operating
system, often one inside the other; the innermost one that says something is what the user reads.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from altub.errors import AltUBError, DiskFullError

__all__ = ["Doing", "HubError", "explain_hub_errors", "is_out_of_reach", "not_signed_in"]

Doing = Literal["push", "pull", "list", "train"]

# By name, because the classes live in whichever HTTP library the client was built on.
_NETWORK = {"TransportError", "TimeoutException", "NetworkError", "ProtocolError", "ConnectionError", "SSLError"}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_AGAIN = {
    "push": "Push again: uploaded files are not sent twice, and the repo shows no partial push.",
    "pull": "Pull again: the download resumes, and no partial model was left.",
    "list": "Try again in a moment.",
    "train": "Try again in a moment; a job that was submitted keeps running.",
}


class HubError(AltUBError):
    """The Hub refuses, cannot be reached, or holds something that is not an AltUB model."""


def not_signed_in(right: str = "write access") -> HubError:
    """The error where there is no token; `right` is what the token must allow."""
    return HubError(
        f"Not signed in to Hugging Face: run hf auth login in a terminal, or set HF_TOKEN to a token with {right}."
    )


@contextmanager
def explain_hub_errors(repo: str, doing: Doing) -> Iterator[None]:
    """Turns what the client raises inside the block into a `HubError` (`DiskFullError` for a full disk).

    Errors that say nothing about the Hub, the network or the disk pass: they are bugs.
    """
    try:
        yield
    except AltUBError:
        raise
    except Exception as error:  # three libraries with no common base class; what is not recognised is raised again
        problem = _explain(error, repo, doing)
        if problem is None:
            raise
        raise problem from error


def is_out_of_reach(error: BaseException) -> bool:
    """Is the Hub unreachable right now, so that the cache may be used instead?"""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    for cause in _chain(error):
        if isinstance(cause, HfHubHTTPError):
            return _status(cause) in (408, 429) or _status(cause) >= 500
        if isinstance(cause, OfflineModeIsEnabled) or _is_network(cause):
            return True
    return False


def _explain(error: BaseException, repo: str, doing: Doing) -> AltUBError | None:
    for cause in _chain(error):
        problem = _explain_one(cause, repo, doing)
        if problem is not None:
            return problem
    return None


def _explain_one(error: BaseException, repo: str, doing: Doing) -> AltUBError | None:
    from huggingface_hub import errors as hub
    from huggingface_hub.constants import ENDPOINT

    if isinstance(error, OSError) and error.errno in _FULL:
        return DiskFullError(
            "The disk is full: the Hub's files could not be stored. Free some space, or set HF_HOME to a folder on "
            "another disk; no partial model was left."
        )
    if isinstance(error, OSError) and error.errno in _FORBIDDEN:
        return HubError(
            f"{error.filename or 'The Hugging Face cache'} cannot be written: set HF_HOME to a folder that can."
        )
    if isinstance(error, hub.GatedRepoError):
        return HubError(f"{repo} is gated: accept its terms on {ENDPOINT}/{repo} with your account, then pull again.")
    if isinstance(error, hub.RepositoryNotFoundError):
        return HubError(
            f"{repo} is not on the Hub, or it is private and you may not read it: check the name; for a private one "
            "sign in with hf auth login in a terminal, or set HF_TOKEN."
        )
    if isinstance(error, hub.RevisionNotFoundError):
        return HubError(f"{repo} has no such revision: check the branch, tag or commit behind the @, or leave it out.")
    if isinstance(error, hub.RemoteEntryNotFoundError):
        return HubError(f"A file is missing in {repo}: it may have just been changed. Try again.")
    if isinstance(error, hub.DisabledRepoError):
        return HubError(f"{repo} was disabled on the Hub: look at {ENDPOINT}/{repo} for the reason.")
    if isinstance(error, hub.LocalTokenNotFoundError):
        return not_signed_in()
    if isinstance(error, hub.HFValidationError):
        return HubError(f"{repo!r} is not the name of a repo: write it as user/name.")
    if isinstance(error, hub.OfflineModeIsEnabled):
        return HubError(_offline("offline mode is on (HF_HUB_OFFLINE)", repo, doing))
    if isinstance(error, hub.HfHubHTTPError):
        return _by_status(error, repo, doing)
    if isinstance(error, hub.LocalEntryNotFoundError) and error.__cause__ is None:
        return HubError(_offline(f"the Hub at {ENDPOINT} cannot be reached", repo, doing))
    if _is_network(error):
        return HubError(_offline(f"the Hub at {ENDPOINT} cannot be reached, or the connection broke", repo, doing))
    if isinstance(error, OSError) and "onsistency check" in str(error):
        return HubError(f"A file of {repo} arrived incomplete. {_AGAIN['pull']}")
    return None


def _by_status(error: BaseException, repo: str, doing: Doing) -> HubError:
    from huggingface_hub.constants import ENDPOINT

    status = _status(error)
    if status == 401:
        return HubError(
            "The Hub does not accept the token: it is wrong or was revoked. Run hf auth login in a terminal again, or "
            "set HF_TOKEN to a valid token (it overrides the stored one)."
        )
    if status == 402:
        return HubError(f"Hugging Face Jobs must be paid for: add credit or a plan on {ENDPOINT}/settings/billing.")
    if status == 403:
        right = {"push": f"to write to {repo}", "pull": f"to read {repo}", "list": "to list models"}.get(
            doing, "to run jobs"
        )
        return HubError(
            f"The token has no right {right}: use one with that right ({ENDPOINT}/settings/tokens), or your own repo."
        )
    if status in (409, 412):
        return HubError(
            f"{repo} was changed by someone else during this push, so nothing was pushed. Review the new commit, then "
            "push again to add yours."
        )
    if status == 413:
        return HubError(f"The Hub refuses the model: it is too large for {repo}.")
    if status == 429:
        wait = getattr(error, "response", None)
        seconds = "" if wait is None else str(wait.headers.get("Retry-After") or "")
        after = f"{seconds} seconds" if seconds.isdigit() else "a few minutes"
        return HubError(f"The Hub gets too many requests from here: try again after {after}.")
    if status >= 500 or status == 408:
        return HubError(f"The Hub has an internal problem (status {status}). {_AGAIN[doing]}")
    return HubError(f"The Hub refused the request for {repo} (status {status}): {_server_message(error)}")


def _offline(reason: str, repo: str, doing: Doing) -> str:
    if doing == "push":
        return f"Nothing was pushed to {repo}: {reason}. {_AGAIN['push']}"
    if doing == "train":
        return f"Could not reach Hugging Face Jobs: {reason}. {_AGAIN['train']}"
    if doing == "list":
        return f"Could not load the list: {reason}. Models that were pulled before can still be pulled from the cache."
    return f"{repo} could not be downloaded: {reason}, and the cache has no complete copy. Go online and pull again."


def _server_message(error: BaseException) -> str:
    words = str(getattr(error, "server_message", None) or "no reason given").strip().splitlines()[0]
    return words[:200].rstrip(".") + "."


def _status(error: BaseException) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)


def _is_network(error: BaseException) -> bool:
    return isinstance(error, ConnectionError | TimeoutError) or any(
        base.__name__ in _NETWORK for base in type(error).__mro__
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, outermost first."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
