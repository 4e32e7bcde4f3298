"""Leases: an image that one person looks at is not given to another. They run for five minutes and can be renewed."""

from __future__ import annotations

import time
from collections.abc import Callable

from altub.labels.database import Database
from altub.labels.images import Images
from altub.labels.records import check_who

__all__ = ["LEASE_SECONDS", "Leases"]

LEASE_SECONDS = 300.0


class Leases:
    """Who looks at which image, until when.

    Args:
        clock: seconds since 1970; all processes of a store must agree on them.
    """

    def __init__(self, db: Database, images: Images, clock: Callable[[], float] = time.time) -> None:
        self._db, self._images, self.clock = db, images, clock

    def take(self, image: str, who: str) -> bool:
        """Leases an image, or renews one's own lease; False where somebody else has it.

        Raises:
            LabelError: there is no such image.
        """
        return self.take_number(self._images.number(image), check_who(who))

    def take_number(self, number: int, who: str) -> bool:
        """`take` by the image's number in the database."""
        now = self.clock()
        with self._db.write() as connection:
            changed = connection.execute(
                "INSERT INTO leases (image, who, until) VALUES (?, ?, ?) ON CONFLICT (image) DO UPDATE "
                "SET who = excluded.who, until = excluded.until WHERE leases.who = excluded.who OR leases.until <= ?",
                (number, who, now + LEASE_SECONDS, now),
            ).rowcount
        return changed == 1

    def release(self, image: str, who: str) -> None:
        """Gives an image back; nothing happens where somebody else has it."""
        with self._db.write() as connection:
            connection.execute(
                "DELETE FROM leases WHERE image = ? AND who = ?", (self._images.number(image), check_who(who))
            )

    def holder(self, image: str) -> str | None:
        """Who looks at an image now."""
        row = self._db.row(
            "SELECT who FROM leases WHERE image = ? AND until > ?", (self._images.number(image), self.clock())
        )
        return None if row is None else row["who"]
