"""What models say of the stored images, kept so that a queue opens at once."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np

from altub.labels.database import Database
from altub.labels.images import Images
from altub.labels.masks import decode_map, encode_map
from altub.labels.objects import ObjectFolder
from altub.labels.records import Proposal

__all__ = ["Proposals"]

_SELECT = (
    "SELECT p.id, i.sha256 AS image, p.model, p.score, p.p_value, p.peak, p.map AS map_sha256 "
    "FROM proposals AS p JOIN images AS i ON i.id = p.image"
)


class Proposals:
    """The table of proposals; a model says the same of an image every time, so that there is one for each pair."""

    def __init__(self, db: Database, objects: ObjectFolder, images: Images) -> None:
        self._db, self._objects, self._images = db, objects, images

    def add(self, image: str, model: str, score: float, p_value: float, anomaly_map: np.ndarray) -> Proposal:
        """Keeps what a model says of an image; what it said before stays.

        Args:
            image: SHA-256.
            model: SHA-256 of the model's weights.
            anomaly_map: (h, w) at the model's size (`Prediction.model_map`).

        Raises:
            LabelError: there is no such image.
            DiskFullError: no room.
        """
        number = self._images.number(image)
        stored = self._objects.put(encode_map(anomaly_map))
        peak = float(np.max(anomaly_map))
        with self._db.write() as connection:
            connection.execute(
                "INSERT INTO proposals (image, model, score, p_value, peak, map, at) VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (model, image) DO NOTHING",
                (number, model, float(score), float(p_value), peak, stored, time.time()),
            )
        found = self.get(image, model)
        assert found is not None
        return found

    def get(self, image: str, model: str) -> Proposal | None:
        """What a model says of an image, or None where it was not asked yet."""
        row = self._db.row(f"{_SELECT} WHERE i.sha256 = ? AND p.model = ?", (image, model))
        return None if row is None else Proposal(**dict(row))

    def of_model(self, model: str) -> dict[str, Proposal]:
        """All that a model says, by the image's SHA-256."""
        rows = self._db.rows(f"{_SELECT} WHERE p.model = ?", (model,))
        return {row["image"]: Proposal(**dict(row)) for row in rows}

    def map(self, proposal: Proposal) -> np.ndarray:
        """The anomaly map (h, w), float32 rounded to float16, at the model's size.

        Raises:
            LabelError: the file is missing or damaged.
        """
        return decode_map(self._objects.read(proposal.map_sha256))

    def missing(self, model: str, images: Iterable[str] | None = None) -> list[str]:
        """The images, of all or of those given, that a model was not asked about yet, oldest first."""
        rows = self._db.rows(
            "SELECT sha256 FROM images WHERE NOT EXISTS "
            "(SELECT 1 FROM proposals AS p WHERE p.image = images.id AND p.model = ?) ORDER BY id",
            (model,),
        )
        wanted = None if images is None else set(images)
        return [row["sha256"] for row in rows if wanted is None or row["sha256"] in wanted]

    def models(self) -> dict[str, int]:
        """Number of proposals by model, the one that was used last first."""
        rows = self._db.rows("SELECT model, count(*) AS n FROM proposals GROUP BY model ORDER BY max(id) DESC")
        return {row["model"]: row["n"] for row in rows}
