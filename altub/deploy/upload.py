"""Uploads an assembled Space to the Hub."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from altub.deploy.contents import MODEL_FOLDER
from altub.errors import ConfigError
from altub.files import write_json
from altub.version import __version__

__all__ = ["check_name", "upload"]

# Deleted in the Space unless this deployment has them; everything else there is its owner's.
_OURS = ["altub/*", "assets/*", f"{MODEL_FOLDER}/*"]
CARD, NOTE = "README.md", "deployed.json"  # the note distinguishes an edited card from a deployed one


def check_name(space: str) -> None:
    """Checks the name of a Space.

    Raises:
        ConfigError: it is not of the form user/name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", space):
        raise ConfigError(f"{space!r} is not the name of a Space: write it as user/name.")


def upload(
    folder: Path, space: str, *, hardware: str | None = None, private: bool = False, tell: Callable[[str], None] = print
) -> str:
    """Creates the Space if it does not exist and uploads the folder in one commit; returns the commit's address.

    A README that was edited on the Hub since the last deployment is left as it is, which `tell` is called with.

    Args:
        hardware: requested if given; else a Space keeps its own.
        private: of a Space that is created; an existing one keeps its visibility.

    Raises:
        HubError: the Hub refuses or cannot be reached, in one sentence.
    """
    from huggingface_hub import HfApi

    from altub.hub.errors import explain_hub_errors

    check_name(space)
    api = HfApi()
    with explain_hub_errors(space, "push"):
        api.create_repo(space, repo_type="space", space_sdk="gradio", private=private or None, exist_ok=True)
        before = _read(api, space, CARD)
        card_kept = before is not None and not _is_deployed(api, space, before)
        if card_kept:
            tell(f"Note: the README of {space} was edited on the Hub, so it was left as it is.")
        else:
            write_json(folder / NOTE, {"readme_sha256": hashlib.sha256((folder / CARD).read_bytes()).hexdigest()})
        commit = api.upload_folder(
            repo_id=space,
            repo_type="space",
            folder_path=folder,
            commit_message=f"AltUB {__version__}",
            delete_patterns=_OURS,
            ignore_patterns=[CARD] if card_kept else None,
        )
        if hardware:  # after the files: it builds once, with requirements that fit
            api.request_space_hardware(space, hardware)
    return str(commit.commit_url)


def _is_deployed(api: Any, space: str, card: bytes) -> bool:
    """Is this README one that a deployment wrote? Before the first one it is the Hub's own, which may be replaced."""
    note = _read(api, space, NOTE)
    if note is None:
        return True
    try:
        return json.loads(note)["readme_sha256"] == hashlib.sha256(card).hexdigest()
    except (ValueError, TypeError, KeyError):  # the note was edited too
        return False


def _read(api: Any, space: str, name: str) -> bytes | None:
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(api.hf_hub_download(space, name, repo_type="space")).read_bytes()
    except EntryNotFoundError:
        return None
