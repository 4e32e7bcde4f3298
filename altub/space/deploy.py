"""An assembled Space on its way to the Hub."""

from __future__ import annotations

import re
from pathlib import Path

from altub.errors import ConfigError
from altub.space.contents import MODEL_FOLDER
from altub.version import __version__

__all__ = ["check_name", "upload"]

# What an earlier deployment brought and this one no longer has; everything else in the Space is its owner's.
_OURS = ["altub/*", "assets/*", f"{MODEL_FOLDER}/*"]


def check_name(space: str) -> None:
    """Refuses what is no name of a Space.

    Raises:
        ConfigError: it is not of the form user/name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", space):
        raise ConfigError(f"{space!r} is not the name of a Space: write it as user/name.")


def upload(folder: Path, space: str, *, hardware: str | None = None, private: bool = False) -> str:
    """Creates the Space if it is not there and uploads the folder in one commit; returns the commit's address.

    Args:
        hardware: asked for if given; else a Space keeps what it has.
        private: of a Space that is created; one that is there stays as visible as it is.

    Raises:
        HubError: the Hub refuses or cannot be reached, in one sentence.
    """
    from huggingface_hub import HfApi

    from altub.hub.words import hub_words

    check_name(space)
    api = HfApi()
    with hub_words(space, "push"):
        api.create_repo(space, repo_type="space", space_sdk="gradio", private=private or None, exist_ok=True)
        commit = api.upload_folder(
            repo_id=space,
            repo_type="space",
            folder_path=folder,
            commit_message=f"AltUB {__version__}",
            delete_patterns=_OURS,
        )
        if hardware:  # after the files: it builds once, with requirements that fit
            api.request_space_hardware(space, hardware)
    return str(commit.commit_url)
