"""The package's version, which models and runs record, and what it needs installed."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["__version__", "requirements"]

__version__ = "0.2.0.dev0"

_PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"  # of a checkout


def requirements(*extras: str) -> list[str]:
    """What the package needs, and what these extras add, one requirement a line as in a requirements.txt.

    From the checkout's pyproject.toml where the code runs from one, else from the installed package's metadata.

    Example:
        >>> any(line.startswith("torch>=") for line in requirements())
        True
        >>> [line.partition("[")[0] for line in requirements("ui") if "gradio" in line]
        ['gradio']
    """
    project = _checkout()
    if project is not None:
        return [*project["dependencies"], *(line for name in extras for line in project["optional-dependencies"][name])]
    found = []
    for line in metadata.requires("altub") or []:
        requirement, _, marker = line.partition(";")
        extra = re.fullmatch(r"\s*extra == ['\"]([\w-]+)['\"]\s*", marker)
        if not marker or (extra and extra[1] in extras):
            found.append(requirement.strip())
    return found


def _checkout() -> dict[str, Any] | None:
    """The [project] table of the checkout; None where the code runs from an installed package."""
    if not _PYPROJECT.is_file():
        return None
    project = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8")).get("project", {})
    return project if project.get("name") == "altub" else None  # else it is another package's stray file
