"""What people say about a run: notes.json in its directory. Everything else in there is the trainer's.

A run without the file, as older versions wrote them, has no name, notes or tags.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, field_validator

from altub.errors import RunError, validation_problem
from altub.files import read_json, write_json
from altub.runs.run import Run

__all__ = ["NOTES_FILE", "RunNotes", "change_notes", "disk_use", "read_notes"]

NOTES_FILE = "notes.json"
MOST_TAGS = 12

_Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)]
_Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=30)]
_Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000)]


class RunNotes(BaseModel):
    """The content of notes.json.

    Example:
        >>> RunNotes(name=" Lid, line 3 ", tags=["lid", "lid", "2026"]).tags
        ('lid', '2026')
    """

    model_config = ConfigDict(frozen=True, extra="ignore")  # a later version may write more

    version: Literal[1] = 1
    name: _Line = ""
    notes: _Text = ""
    tags: tuple[_Tag, ...] = ()
    pinned: bool = False  # in production
    archived: bool = False  # left out of lists

    @field_validator("name", "tags")
    @classmethod
    def _one_line(cls, value: Any) -> Any:
        texts = (value,) if isinstance(value, str) else value
        if any(not character.isprintable() for text in texts for character in text):
            raise ValueError("one line of plain text is expected")
        return value

    @field_validator("tags")
    @classmethod
    def _few_different(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        different = tuple(dict.fromkeys(tags))
        if len(different) > MOST_TAGS:
            raise ValueError(f"a run has at most {MOST_TAGS} tags")
        return different


def read_notes(run: Run) -> RunNotes:
    """The run's notes; empty ones where there is no file, or a damaged one."""
    try:
        return RunNotes.model_validate(read_json(run.path / NOTES_FILE))
    except (OSError, ValueError):  # a ValidationError is one
        return RunNotes()


def change_notes(run: Run, **changes: Any) -> RunNotes:
    """Writes the run's notes with some fields changed, and returns them.

    Raises:
        RunError: there is no such run, or a value is not what it may be.
        DiskFullError: no room; the notes are as they were.
    """
    Run.open(run.path)
    try:
        notes = RunNotes.model_validate({**read_notes(run).model_dump(), **changes})
    except ValidationError as error:
        field = str(error.errors(include_url=False)[0]["loc"][0])
        raise RunError(f"The notes were not changed: {validation_problem(error)}.").at(field) from error
    write_json(run.path / NOTES_FILE, notes.model_dump(mode="json"))
    return notes


def disk_use(run: Run) -> int:
    """Bytes of the files in the run directory."""
    return _bytes_below(run.path)


def _bytes_below(folder: Path | str) -> int:
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    total += _bytes_below(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    except OSError:  # removed meanwhile, or another user's
        pass
    return total
