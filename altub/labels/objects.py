"""Files by their content: originals, masks and maps, each under its SHA-256.

    <folder>/ab/cd0123...    the file whose SHA-256 is abcd0123...

The same content is stored once. A file appears whole or not at all, and before anything names it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from altub.errors import LabelError
from altub.files import explain_full_disk, write_atomically

__all__ = ["ObjectFolder"]

_SHA256 = re.compile("[0-9a-f]{64}")


class ObjectFolder:
    """A content-addressed folder.

    Example:
        >>> import tempfile
        >>> objects = ObjectFolder(Path(tempfile.mkdtemp()))
        >>> objects.read(objects.put(b"content"))
        b'content'
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, content: bytes) -> str:
        """Stores the content and returns its SHA-256.

        Raises:
            DiskFullError: no room.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.path(sha256)
        if not path.is_file():
            with explain_full_disk(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
        return sha256

    def path(self, sha256: str) -> Path:
        """Where the file with this SHA-256 is or would be.

        Raises:
            LabelError: this is no SHA-256.
        """
        if not _SHA256.fullmatch(sha256):
            raise LabelError("This is no SHA-256 of an image: choose one from the list.")
        return self.folder / sha256[:2] / sha256[2:]

    def read(self, sha256: str) -> bytes:
        """The content.

        Raises:
            LabelError: the file is not there or cannot be read.
        """
        path = self.path(sha256)
        try:
            return path.read_bytes()
        except OSError as error:
            raise LabelError(
                f"{path} is missing or cannot be read. Run `altub labels check`, and restore it from a backup."
            ) from error

    def is_intact(self, sha256: str) -> bool:
        """Is the file there, with this content?"""
        path = self.path(sha256)
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256

    def __iter__(self) -> Iterator[str]:
        """The SHA-256 of every file, sorted."""
        for path in sorted(self.folder.glob("[0-9a-f][0-9a-f]/*")):
            if _SHA256.fullmatch(name := path.parent.name + path.name):
                yield name
