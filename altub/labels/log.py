"""The labels: events that are only ever appended. An undo is one more event.

Nobody overwrites anybody: a second verdict on an image stands beside the first, and both are seen. The label of an
image is its newest event that was not undone.
"""

from __future__ import annotations

import time

import numpy as np

from altub.errors import LabelError
from altub.labels.database import Database
from altub.labels.images import Images
from altub.labels.masks import MaskSource, encode_mask, mask_array
from altub.labels.objects import ObjectFolder
from altub.labels.records import VERDICTS, Label, Verdict, check_defect_type, check_note, check_who

__all__ = ["LabelLog"]

_FIELDS = (
    "e.id AS event, i.sha256 AS image, e.who, e.verdict, e.defect_type, e.mask AS mask_sha256, e.note, e.proposal, "
    "e.showing, e.at"
)
_STANDING = f"SELECT {_FIELDS} FROM standing AS e JOIN images AS i ON i.id = e.image"
_NEWEST = "e.id = (SELECT max(s.id) FROM standing AS s WHERE s.image = e.image)"


class LabelLog:
    """Appends and reads label events."""

    def __init__(self, db: Database, objects: ObjectFolder, images: Images) -> None:
        self._db, self._objects, self._images = db, objects, images

    def add(
        self,
        image: str,
        who: str,
        verdict: Verdict,
        *,
        defect_type: str | None = None,
        mask: MaskSource | None = None,
        note: str = "",
        proposal: int | None = None,
        showing: int | None = None,
        at: float | None = None,
    ) -> Label:
        """Appends a verdict.

        Args:
            image: SHA-256.
            who: name of the person.
            defect_type: of a defect; "defect" where none is given. Others have none.
            mask: the defective pixels, at the image's own size; of a defect only.
            proposal, showing: what the person saw; see `Label`.
            at: when it was given, for imports; default now.

        Raises:
            LabelError: one of them is not possible, or there is no such image.
            DiskFullError: no room; nothing was stored.
        """
        if verdict not in VERDICTS:
            raise LabelError(f"{verdict!r} is no verdict: use {', '.join(VERDICTS)}.")
        if verdict != "defect" and (defect_type or mask is not None):
            raise LabelError("Only a defect has a type and a mask: choose the verdict 'defect'.")
        who, note, stored = check_who(who), check_note(note), None
        kind = check_defect_type(defect_type) if verdict == "defect" else None
        known = self._images.get(image)
        if mask is not None:
            stored = self._objects.put(encode_mask(mask_array(mask, known.size)))  # before the event that names it
        now = time.time() if at is None else at
        with self._db.write() as connection:
            number = self._images.number(image)
            for table, named in (("proposals", proposal), ("showings", showing)):
                found = connection.execute(f"SELECT 1 FROM {table} WHERE id = ? AND image = ?", (named, number))
                if named is not None and found.fetchone() is None:
                    raise LabelError("What this label answers to belongs to another image: reload the page.")
            values = (number, who, verdict, kind, stored, note, proposal, showing, now)
            event = connection.execute(
                "INSERT INTO events (image, who, verdict, defect_type, mask, note, proposal, showing, at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            ).lastrowid
            connection.execute("DELETE FROM leases WHERE image = ? AND who = ?", (number, who))
        return Label(event, image, who, verdict, kind, stored, note, proposal, showing, now)

    def undo(self, event: int, who: str) -> None:
        """Takes a label back; the one before it counts again.

        Raises:
            LabelError: it is no label that stands, or somebody else's.
        """
        who = check_who(who)
        with self._db.write() as connection:
            row = connection.execute("SELECT image, who FROM standing WHERE id = ?", (event,)).fetchone()
            if row is None:
                raise LabelError("This label was taken back before, or is not there: reload the page.")
            if row["who"] != who:
                raise LabelError(f"This label is {row['who']}'s: give your own verdict on the image instead.")
            connection.execute(
                "INSERT INTO events (image, who, note, undoes, at) VALUES (?, ?, '', ?, ?)",
                (row["image"], who, event, time.time()),
            )

    def last_by(self, who: str) -> Label | None:
        """The newest label of a person that was not taken back: what "undo" takes back next."""
        row = self._db.row(f"{_STANDING} WHERE e.who = ? ORDER BY e.id DESC LIMIT 1", (check_who(who),))
        return None if row is None else Label(**dict(row))

    def of(self, image: str) -> Label | None:
        """The label of an image: its newest event that stands."""
        row = self._db.row(f"{_STANDING} WHERE i.sha256 = ? ORDER BY e.id DESC LIMIT 1", (image,))
        return None if row is None else Label(**dict(row))

    def history(self, image: str) -> list[Label]:
        """All labels of an image that stand, everybody's, oldest first."""
        return [Label(**dict(r)) for r in self._db.rows(f"{_STANDING} WHERE i.sha256 = ? ORDER BY e.id", (image,))]

    def all(self, source: str | None = None) -> dict[str, Label]:
        """The label of every labelled image, by its SHA-256, in the order of the images."""
        rows = self._db.rows(
            f"{_STANDING} WHERE {_NEWEST} AND (:source IS NULL OR i.source = :source) ORDER BY i.id",
            {"source": source},
        )
        return {row["image"]: Label(**dict(row)) for row in rows}

    def mask(self, label: Label) -> np.ndarray | None:
        """The mask of a label, bool (H, W), or None where it has none.

        Raises:
            LabelError: the file is missing or damaged.
        """
        if label.mask_sha256 is None:
            return None
        return mask_array(self._objects.read(label.mask_sha256), self._images.get(label.image).size)

    def defect_types(self) -> dict[str, int]:
        """Number of labelled images by defect type, the type that was used last first."""
        rows = self._db.rows(
            f"SELECT e.defect_type, count(*) AS n FROM standing AS e WHERE e.verdict = 'defect' AND {_NEWEST} "
            "GROUP BY e.defect_type ORDER BY max(e.id) DESC"
        )
        return {row["defect_type"]: row["n"] for row in rows}

    def counts(self) -> dict[str, int]:
        """Number of images by verdict, and of events in all (`events`)."""
        rows = self._db.rows(f"SELECT e.verdict, count(*) AS n FROM standing AS e WHERE {_NEWEST} GROUP BY e.verdict")
        found = {row["verdict"]: row["n"] for row in rows}
        events = self._db.row("SELECT count(*) AS n FROM events")
        return {verdict: found.get(verdict, 0) for verdict in VERDICTS} | {"events": events["n"]}

    def people(self) -> dict[str, int]:
        """Number of standing labels by person."""
        rows = self._db.rows("SELECT who, count(*) AS n FROM standing GROUP BY who ORDER BY n DESC, who")
        return {row["who"]: row["n"] for row in rows}

    def disputed(self) -> set[str]:
        """Images on which people disagree: their newest verdicts differ."""
        rows = self._db.rows(
            "SELECT i.sha256 FROM standing AS e JOIN images AS i ON i.id = e.image "
            "WHERE e.id = (SELECT max(s.id) FROM standing AS s WHERE s.image = e.image AND s.who = e.who) "
            "GROUP BY e.image HAVING count(DISTINCT e.verdict) > 1"
        )
        return {row["sha256"] for row in rows}
