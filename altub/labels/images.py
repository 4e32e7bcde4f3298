"""The images of a label store: each by its content, with its original bytes."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from altub.data.images import opened
from altub.data.images.sources import open_encoded
from altub.errors import LabelError
from altub.files import printable
from altub.labels.database import Database
from altub.labels.objects import ObjectFolder
from altub.labels.records import StoredImage

__all__ = ["COLOURS_SIDE", "Images"]

COLOURS_SIDE = 8  # pixels of the stored miniature that tells images apart
_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2", "PPM": ".ppm", "DIB": ".bmp"}
_FIELDS = ", ".join(f"images.{name}" for name in StoredImage.__dataclass_fields__)


class Images:
    """The table of images and the folder with their bytes."""

    def __init__(self, db: Database, objects: ObjectFolder) -> None:
        self._db, self._objects = db, objects

    def add(
        self,
        image: str | Path | bytes,
        *,
        name: str | None = None,
        source: str = "",
        inclusion: float = 1.0,
    ) -> StoredImage:
        """Stores an image, unless the same bytes are there already; then the image that is there is returned.

        Args:
            image: a file, or the bytes of one.
            name: shown to people; by default the file's own name.
            source: where it comes from, such as a line or a category.
            inclusion: see `StoredImage`.

        Raises:
            ImageError: it cannot be read as an image.
            LabelError: the inclusion is no probability.
            DiskFullError: no room; nothing was added.
        """
        if not 0 < inclusion <= 1:
            raise LabelError(f"The inclusion probability is {inclusion:g}: it must be above 0 and at most 1.")
        with open_encoded(image) as encoded:
            content = encoded.file.read()
            name, source = printable(name or encoded.name), printable(source)
        with opened(content) as picture:
            size, miniature = picture.size, picture.resize((COLOURS_SIDE, COLOURS_SIDE), Image.Resampling.BOX)
        suffix = _suffix(content)
        sha256 = self._objects.put(content)  # before the row that names it
        values = (sha256, name, suffix, *size, source, inclusion, random.random(), miniature.tobytes(), time.time())
        with self._db.write() as connection:
            connection.execute(
                "INSERT INTO images (sha256, name, suffix, width, height, source, inclusion, ticket, colours, at) "
                f"VALUES ({', '.join('?' * len(values))}) ON CONFLICT (sha256) DO NOTHING",
                values,
            )
        return self.get(sha256)

    def get(self, sha256: str) -> StoredImage:
        """The image with this SHA-256.

        Raises:
            LabelError: there is none.
        """
        row = self._db.row(f"SELECT {_FIELDS} FROM images WHERE sha256 = ?", (sha256,))
        if row is None:
            raise LabelError("There is no such image in the label store: choose one from the list.")
        return StoredImage(**dict(row))

    def all(self, source: str | None = None) -> list[StoredImage]:
        """All images, or those of a source, in the order in which they were added."""
        rows = self._db.rows(
            f"SELECT {_FIELDS} FROM images WHERE :source IS NULL OR source = :source ORDER BY id", {"source": source}
        )
        return [StoredImage(**dict(row)) for row in rows]

    def __len__(self) -> int:
        """Number of images."""
        return self._db.row("SELECT count(*) AS n FROM images")["n"]

    def sources(self) -> dict[str, int]:
        """Number of images by source."""
        rows = self._db.rows("SELECT source, count(*) AS n FROM images GROUP BY source ORDER BY source")
        return {row["source"]: row["n"] for row in rows}

    def path(self, sha256: str) -> Path:
        """The file with an image's original bytes; never to be changed."""
        return self._objects.path(self.get(sha256).sha256)

    def number(self, sha256: str) -> int:
        """The image's number in the database.

        Raises:
            LabelError: there is no such image.
        """
        row = self._db.row("SELECT id FROM images WHERE sha256 = ?", (sha256,))
        if row is None:
            raise LabelError("There is no such image in the label store: choose one from the list.")
        return row["id"]

    def colours(self, numbers: Iterable[int]) -> np.ndarray:
        """Miniatures of images by their numbers, float32 (n, 192) in 0 to 1."""
        known = {row["id"]: row["colours"] for row in self._db.rows("SELECT id, colours FROM images")}
        found = [known[number] for number in numbers]
        return np.frombuffer(b"".join(found), np.uint8).reshape(len(found), -1).astype(np.float32) / 255


def _suffix(content: bytes) -> str:
    with Image.open(io.BytesIO(content)) as picture:
        kind = picture.format or "PNG"
    return _SUFFIXES.get(kind, f".{kind.lower()}")
