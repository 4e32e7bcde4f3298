"""Every failure of the Hub in a sentence that tells what to do.

The client raises errors of its own, of its HTTP library (which differs by version: httpx, httpx2) and of the operating
system, often one inside the other; the innermost one that says something is what the user reads.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from altub.errors import AltUBError, DiskFullError

__all__ = ["Doing", "HubError", "hub_words", "is_out_of_reach"]

Doing = Literal["push", "pull", "list", "train"]

# By name, because the classes live in whichever HTTP library the client was built on.
_NETWORK = {"TransportError", "TimeoutException", "NetworkError", "ProtocolError", "ConnectionError", "SSLError"}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_AGAIN = {
    "push": "Push again: what has arrived is not sent twice, and the repo shows nothing of the half push.",
    "pull": "Pull again: it goes on where it was, and no half model was left.",
    "list": "Try again in a moment.",
    "train": "Try again in a moment; a job that was begun goes on meanwhile.",
}


class HubError(AltUBError):
    """The Hub refuses, cannot be reached, or holds something that is no model of ours."""


@contextmanager
def hub_words(repo: str, doing: Doing) -> Iterator[None]:
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
    """Is there no Hub to be had right now, so that the cache may stand in for it?"""
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
            "The disk is full: the Hub's files could not be stored. Make room, or set HF_HOME to a folder on "
            "another disk; no half model was left."
        )
    if isinstance(error, OSError) and error.errno in _FORBIDDEN:
        return HubError(
            f"{error.filename or 'The Hugging Face cache'} cannot be written: set HF_HOME to a folder that can."
        )
    if isinstance(error, hub.GatedRepoError):
        return HubError(f"{repo} is gated: accept its terms on {ENDPOINT}/{repo} with your account, then pull again.")
    if isinstance(error, hub.RepositoryNotFoundError):
        return HubError(
            f"{repo} is not on the Hub, or is private and not yours to read: check the name, and log in with "
            "`hf auth login` (or set HF_TOKEN) for a private one."
        )
    if isinstance(error, hub.RevisionNotFoundError):
        return HubError(f"{repo} has no such revision: check the branch, tag or commit behind the @, or leave it out.")
    if isinstance(error, hub.RemoteEntryNotFoundError):
        return HubError(f"A file is missing in {repo}: it may have been changed just now. Try again.")
    if isinstance(error, hub.DisabledRepoError):
        return HubError(f"{repo} was disabled on the Hub: look at {ENDPOINT}/{repo} for the reason.")
    if isinstance(error, hub.LocalTokenNotFoundError):
        return HubError("Nobody is logged in: run `hf auth login`, or set HF_TOKEN to a token with the right to write.")
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
            "The Hub does not accept the token: it is wrong or was revoked. Run `hf auth login` again, or set HF_TOKEN "
            "to a valid one (it goes before the stored one)."
        )
    if status == 402:
        return HubError(f"Hugging Face Jobs are paid for: add credit or a plan on {ENDPOINT}/settings/billing.")
    if status == 403:
        right = {"push": f"to write to {repo}", "pull": f"to read {repo}", "list": "to list models"}.get(
            doing, "to run jobs"
        )
        return HubError(
            f"The token has no right {right}: use one with that right ({ENDPOINT}/settings/tokens), or a repo of yours."
        )
    if status in (409, 412):
        return HubError(
            f"Somebody else changed {repo} while this push was under way, so nothing was pushed. Look at the new "
            "commit, then push again if yours is to follow it."
        )
    if status == 413:
        return HubError(f"The Hub refuses the model: it is too large for {repo}.")
    if status == 429:
        wait = getattr(error, "response", None)
        seconds = "" if wait is None else str(wait.headers.get("Retry-After") or "")
        after = f"{seconds} seconds" if seconds.isdigit() else "a few minutes"
        return HubError(f"The Hub gets too many requests from here: try again after {after}.")
    if status >= 500 or status == 408:
        return HubError(f"The Hub has a problem of its own (it answered {status}). {_AGAIN[doing]}")
    return HubError(f"The Hub refused the request for {repo} (it answered {status}): {_server_words(error)}")


def _offline(reason: str, repo: str, doing: Doing) -> str:
    if doing == "push":
        return f"Nothing was pushed to {repo}: {reason}. {_AGAIN['push']}"
    if doing == "train":
        return f"Hugging Face Jobs cannot be asked: {reason}. {_AGAIN['train']}"
    if doing == "list":
        return f"The list cannot be had: {reason}. Models that were pulled before can still be pulled from the cache."
    return f"{repo} could not be fetched: {reason}, and it is not whole in the cache. Go online and pull again."


def _server_words(error: BaseException) -> str:
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
