"""Uploaded images: stored below the data root as a plain folder, under names that cannot lead out of it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from altub.data import is_image_file, opened
from altub.data.category import image_files
from altub.deploy.server.notices import UPLOADS_OFF
from altub.errors import DataError, ImageError
from altub.files import explain_full_disk, replacing
from altub.settings import data_root, uploads_are_shared

__all__ = [
    "StoredUpload",
    "list_uploads",
    "remove_image",
    "removed_images",
    "restore_image",
    "safe_name",
    "store_upload",
    "upload_folder",
    "uploads_root",
]

PARTS = ("good", "defect")  # folders of a set
REMOVED = ".removed"  # beside them: no layout reads a hidden folder
LONGEST_NAME = 40
LONGEST_FILE_NAME = 80


@dataclass
class StoredUpload:
    """The result of an upload. known: files that were there already. refused: a sentence for each skipped file."""

    name: str
    good: int = 0
    defective: int = 0
    known: int = 0
    refused: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        parts = [f"Stored in “{self.name}”: {self.good} good and {self.defective} defective images."]
        if self.known:
            parts.append(f"Already there: {self.known}.")
        if self.refused:
            shown = " ".join(self.refused[:3])
            more = f" (and {len(self.refused) - 3} more)" if len(self.refused) > 3 else ""
            files = "file" if len(self.refused) == 1 else "files"
            parts.append(f"{len(self.refused)} {files} skipped: {shown}{more}")
        return " ".join(parts)


def uploads_root() -> Path:
    """Folder with one folder per set of uploaded images."""
    return data_root() / "uploads"


def list_uploads() -> list[str]:
    """Names of the stored sets; none where visitors may not see each other's."""
    root = uploads_root()
    if not uploads_are_shared() or not root.is_dir():
        return []
    return sorted(
        path.name for path in root.iterdir() if (path / "good").is_dir() and path.name == safe_name(path.name)
    )


def upload_folder(name: str) -> Path:
    """The folder of a stored set.

    Raises:
        DataError: there is none of this name.
    """
    if name not in list_uploads():
        raise DataError("No uploaded images of this name: choose one from the list.")
    return uploads_root() / name


def safe_name(text: str) -> str:
    """A folder name from any text: letters, digits, spaces, hyphens; may be empty."""
    text = unicodedata.normalize("NFC", text)
    return re.sub(r"[^\w\- ]+", "-", text).strip("-_ ")[:LONGEST_NAME].strip("-_ ")


def store_upload(name: str, good: Sequence[str | Path], defective: Sequence[str | Path] = ()) -> StoredUpload:
    """Copies the images, bytes unchanged, to `<data root>/uploads/<name>/good` and `.../defect`; adds to a set that is
    there.

    Files that are not readable images are skipped and named; the others are kept.

    Raises:
        DataError: no usable name, no good image, or a Space that does not train on uploads.
        DiskFullError: no room; what was stored before stays.
    """
    if not uploads_are_shared():
        raise DataError(UPLOADS_OFF)
    name = safe_name(name or "")
    if not name:
        raise DataError("Give the set of images a name of letters and digits, such as lid-top.").at("name")
    if not good and not defective:
        raise DataError("No images to store: drop images of good parts into the field first.").at("good")
    folder = uploads_root() / name
    result = StoredUpload(name)
    result.good = _store_all(good, folder / "good", result)
    if not result.good and not any((folder / "good").glob("*")):
        reasons = " ".join(result.refused[:3])
        if not good:
            raise DataError("A set needs good images first: drop some into this field.").at("good")
        problem = f"None of the files for good images can be read; nothing was stored. {reasons}"
        raise DataError(problem.strip()).at("good")
    result.defective = _store_all(defective, folder / "defect", result)
    return result


def remove_image(name: str, sha256: str) -> str:
    """Takes an image out of a set; it is kept aside, and `restore_image` brings it back. Returns its name.

    Raises:
        DataError: there is no such set or image, or it is the last good one.
    """
    folder = upload_folder(name)
    for part in PARTS:
        found = _with_digest(folder / part, sha256)
        if found is not None:
            if part == "good" and len(image_files(folder / part)) == 1:
                raise DataError("This is the last good image of the set: add others first.")
            return _move(found, folder / REMOVED / part)
    raise DataError("This image is not in the set any more: check the images again.")


def restore_image(name: str, sha256: str) -> str:
    """Puts a removed image back into its set and returns its name.

    Raises:
        DataError: there is no such set or image.
    """
    folder = upload_folder(name)
    for part in PARTS:
        found = _with_digest(folder / REMOVED / part, sha256)
        if found is not None:
            return _move(found, folder / part)
    raise DataError("This image is not among the removed ones any more: check the images again.")


def removed_images(name: str) -> list[tuple[Path, str]]:
    """(file, SHA-256) of the images that were taken out of a set."""
    folder = upload_folder(name)
    return [(path, _digest(path).hex()) for part in PARTS for path in image_files(folder / REMOVED / part)]


def _with_digest(folder: Path, sha256: str) -> Path | None:
    return next((path for path in image_files(folder) if _digest(path).hex() == sha256), None)


def _move(source: Path, folder: Path) -> str:
    with explain_full_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        os.replace(source, _free_name(folder, source.name))
    return source.name


def _store_all(sources: Sequence[str | Path], folder: Path, result: StoredUpload) -> int:
    present = {_digest(path) for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()
    stored = 0
    for source in map(Path, sources):
        if not is_image_file(source):
            result.refused.append(f"{source.name} is not an image file (.png, .jpg, .tif, .bmp, .webp).")
            continue
        try:
            with opened(source):  # decoded to the end
                pass
        except ImageError as error:
            result.refused.append(str(error))
            continue
        digest = _digest(source)
        if digest in present:
            result.known += 1
            continue
        present.add(digest)
        _copy(source, _free_name(folder, source.name))
        stored += 1
    return stored


def _free_name(folder: Path, file_name: str) -> Path:
    path = Path(unicodedata.normalize("NFC", file_name))
    stem = re.sub(r"[^\w\-]+", "-", path.stem).strip("-.")[:LONGEST_FILE_NAME] or "image"
    suffix = path.suffix.lower()
    candidate, count = folder / f"{stem}{suffix}", 2
    while candidate.exists():
        candidate, count = folder / f"{stem}-{count}{suffix}", count + 1
    return candidate


def _copy(source: Path, goal: Path) -> None:
    with explain_full_disk(goal):
        goal.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as origin, replacing(goal) as file:
        shutil.copyfileobj(origin, file)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
