"""Uploaded files under the names that they have on the visitor's machine.

Gradio stores uploads under shortened names and passes only those to its handlers; the page sends the original names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from altub.inference.batch import Source

__all__ = ["NAMES_JS", "dedupe_names", "dropped_sources", "shown_name"]

LONGEST_NAME = 120

#: For an event whose inputs begin with the files and with a component for their names, which it fills.
NAMES_JS = "(files, _, ...others) => [files, (files ?? []).map((file) => file.orig_name ?? ''), ...others]"


def dropped_sources(files: Sequence[str], names: Any) -> list[Source]:
    """The images to inspect; a name that is missing or not valid is replaced by that of the stored file."""
    given = names if isinstance(names, list) and len(names) == len(files) else [""] * len(files)
    return [
        Source(Path(file), shown_name(name if isinstance(name, str) else "") or Path(file).name)
        for file, name in zip(files, given, strict=True)
    ]


def shown_name(name: str) -> str:
    """The last part of a file name that a browser sent, printable characters only; may be empty."""
    last = re.split(r"[\\/]", name)[-1]
    printable = "".join(character for character in last if character.isprintable()).strip()
    if len(printable) <= LONGEST_NAME:
        return printable
    ending = PurePosixPath(printable).suffix[:10]
    return printable[: LONGEST_NAME - len(ending) - 1] + "…" + ending


def dedupe_names(sources: Iterable[Source], taken: Iterable[str] = ()) -> list[Source]:
    """The sources with unique names: the second part.png becomes "part (2).png"."""
    names, result = set(taken), []
    for source in sources:
        stem, ending = re.fullmatch(r"(.+?)(\.\w+)?", source.name, re.DOTALL).groups(default="")
        name, count = source.name, 2
        while name in names:
            name, count = f"{stem} ({count}){ending}", count + 1
        names.add(name)
        result.append(replace(source, name=name))
    return result
