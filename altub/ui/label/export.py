"""Labels out of the page: an archive of a format, to be downloaded."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from gradio.utils import get_upload_folder

from altub.files import explain_full_disk, replacing
from altub.labels import export_labels
from altub.labels.store import LabelStore
from altub.ui.server.temporary import LABEL_FOLDER

__all__ = ["FORMAT_CHOICES", "write_archive"]

FORMAT_CHOICES = (
    ("MVTec AD folders", "mvtec"),
    ("COCO JSON", "coco"),
    ("CSV", "csv"),
    ("JSON Lines", "jsonl"),
    ("Hugging Face image folder", "imagefolder"),
)


def write_archive(
    store: LabelStore, kind: str, source: str | None, progress: Callable[[int, int], None]
) -> tuple[Path, int, tuple[str, ...]]:
    """A zip of all labelled images of a source; the number of images, and what the format has no place for.

    Raises:
        DataError: there is no such format, or nothing is labelled yet.
        DiskFullError: no room; nothing is left.
    """
    root = Path(get_upload_folder()) / LABEL_FOLDER / secrets.token_urlsafe(16)
    path = root / f"labels-{kind}.zip"
    try:
        with explain_full_disk(root):
            root.mkdir(parents=True)
        with tempfile.TemporaryDirectory(dir=root) as temporary:
            folder = Path(temporary) / "labels"
            done = export_labels(store, folder, kind, source=source, progress=progress)
            # Stored, not packed: the files are compressed images already.
            with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
                for entry in sorted(folder.rglob("*")):
                    if entry.is_file():
                        archive.write(entry, entry.relative_to(folder))
    except BaseException:  # nobody is told of these files
        shutil.rmtree(root, ignore_errors=True)
        raise
    return path, done.images, done.notes
