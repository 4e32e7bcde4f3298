"""Images into the label store, from whichever tab."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from altub.errors import DataError, DiskFullError, LabelError
from altub.labels import LabelStore

__all__ = ["Added", "Offered", "add_images"]

Progress = Callable[[int, int], None]
#: (file, name to show)
Offered = tuple[Path, str]


@dataclass
class Added:
    """What came of it. refused: a sentence for each image that was not added."""

    new: int = 0
    known: int = 0
    refused: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        parts = [f"{self.new} image{'' if self.new == 1 else 's'} added."]
        if self.known:
            parts.append(f"{self.known} were there already.")
        if self.refused:
            more = f" (and {len(self.refused) - 3} more)" if len(self.refused) > 3 else ""
            parts.append(f"{len(self.refused)} skipped: {' '.join(self.refused[:3])}{more}")
        return " ".join(parts)


def add_images(store: LabelStore, offered: Iterable[Offered], source: str, progress: Progress) -> Added:
    """Adds images; what cannot be read is skipped and named.

    Raises:
        DiskFullError: no room; what was added before stays.
        DataError: there is no image at all.
    """
    images, added = list(offered), Added()
    if not images:
        raise DataError("There are no images: drop image files, such as .png or .jpg.")
    for done, (path, name) in enumerate(images, start=1):
        before = len(store.images)
        try:
            store.images.add(path, name=name, source=source)
        except DiskFullError:
            raise
        except (DataError, LabelError) as error:
            added.refused.append(str(error))
        else:
            if len(store.images) > before:
                added.new += 1
            else:
                added.known += 1
        progress(done, len(images))
    return added
