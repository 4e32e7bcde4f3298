"""Folders of this machine that the owner of a page names; nobody else may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from altub.errors import ConfigError, DataError
from altub.files import printable

__all__ = ["named_folder"]


def named_folder(text: Any, *, may_name_folders: bool) -> Path:
    """The folder that was typed, resolved.

    Args:
        may_name_folders: is the page its owner's alone?

    Raises:
        ConfigError: it is not, or nothing is given.
        DataError: there is no such folder.
    """
    if not may_name_folders:
        raise ConfigError(
            "Folders can be chosen only while the page is served to its own machine: drop the images instead."
        )
    if not isinstance(text, str) or not text.strip():
        raise ConfigError("There is no folder yet: enter its path, such as /data/lids.").at("folder")
    folder = Path(text.strip()).expanduser().resolve()
    if not folder.is_dir():
        raise DataError(f"{printable(str(folder))} is not a folder: check the path.").at("folder")
    return folder
