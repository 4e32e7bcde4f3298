"""What a reader may answer to a hostile file: a result, or an AltUBError of one short line, within bounded time."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from altub.errors import AltUBError

__all__ = ["LONGEST", "contents", "count", "problem", "report"]

LONGEST = 700  # characters of a message
SECONDS = 20.0  # of processor time for one case: a loaded machine takes no more of it
SHOWN = 15  # problems of a failed test


def count(cases: int) -> int:
    """How many cases to try: ALTUB_FUZZ, a whole number, multiplies them."""
    return cases * int(os.environ.get("ALTUB_FUZZ") or 1)


def problem(action: Callable[[], Any], folder: Path | None = None) -> str | None:
    """What is wrong with how `action` ends; None where it gives a result or refuses properly.

    Args:
        folder: of the test; its name does not count into the length of a message.
    """
    began = time.process_time()
    try:
        action()
    except AltUBError as error:
        text = str(error) if folder is None else str(error).replace(str(folder), "")
        if "\n" in text or not text.strip() or len(text) > LONGEST:
            return f"not one short line: {type(error).__name__}: {text[:300]!r} ({len(text)} characters)"
    except Exception as error:  # this is what the test looks for
        where = traceback.extract_tb(error.__traceback__)
        place = next((f for f in reversed(where) if "altub" in Path(f.filename).parts), where[-1])
        return f"{type(error).__name__}: {str(error)[:200]} ({Path(place.filename).name}:{place.lineno})"
    took = time.process_time() - began
    return f"took {took:.0f} s" if took > SECONDS else None


def report(problems: Iterable[tuple[str, str | None]]) -> None:
    """Fails with the names of the cases that ended badly."""
    found = [f"{name}: {what}" for name, what in problems if what is not None]
    assert not found, f"{len(found)} cases ended badly:\n" + "\n".join(found[:SHOWN])


def contents(folder: Path) -> dict[str, int]:
    """All that is below a folder, with sizes; compared to see that nothing was written."""
    return {
        str(Path(base, name).relative_to(folder)): os.lstat(Path(base, name)).st_size
        for base, _, names in os.walk(folder)
        for name in names
    }
