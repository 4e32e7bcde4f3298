"""Which image is shown next, why, and with what probability.

An order ("nearest" the threshold, most "anomalous", "newest", "diverse") is a preference, not a list: of n candidates
the one of rank r is shown with a probability proportional to 1 / r. One showing in five is a uniform draw instead. So
every image has a known probability of at least `RANDOM_SHARE` / n, and what is estimated from the labels can be
weighted (`altub.labels.weights`); a queue that only showed what looks odd would bias every estimate for good.

The uniform draws are from *all* images of the queue's scope, labelled before or not: a draw that meets a labelled image
costs nobody anything and is kept, and the next one follows at once. The kept sequence of draws is therefore a random
sample of the production, however the other labels were chosen, and is what promises rest on
(`altub.labels.thresholds`).

Several people may use the same queue: what one looks at is leased and not given to another.
"""

from __future__ import annotations

import random
import sqlite3
import time
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from altub.errors import LabelError
from altub.files import printable
from altub.labels.records import check_who
from altub.labels.store import LabelStore

__all__ = ["EVERYTHING", "ORDERS", "RANDOM_SHARE", "Order", "Queue", "Showing", "rank_chances", "scope_of"]

Order = Literal["nearest", "anomalous", "newest", "diverse", "random"]
ORDERS: tuple[Order, ...] = get_args(Order)
RANDOM_SHARE = 0.2
#: Scope of a queue over the images of all sources.
EVERYTHING = "*"

_LATEST = 200  # showings and labels that a "diverse" image has to differ from

_SCOPE = "(:scope = '*' OR i.source = :scope)"
_FREE = "NOT EXISTS (SELECT 1 FROM leases AS l WHERE l.image = i.id AND l.until > :now AND l.who <> :who)"
# Never shown and never labelled: as soon as an image was, it is no candidate any more.
_CANDIDATES = f"""SELECT i.id, i.sha256, p.score FROM images AS i
    LEFT JOIN proposals AS p ON p.image = i.id AND p.model = :model
    WHERE {_SCOPE} AND {_FREE}
    AND NOT EXISTS (SELECT 1 FROM showings AS s WHERE s.image = i.id)
    AND NOT EXISTS (SELECT 1 FROM events AS e WHERE e.image = i.id) ORDER BY i.id"""
# Shown or labelled once, and without a label now: skipped, or taken back.
_AGAIN = f"""SELECT i.id, i.sha256 FROM images AS i WHERE {_SCOPE} AND {_FREE}
    AND NOT EXISTS (SELECT 1 FROM standing AS e WHERE e.image = i.id)
    AND NOT EXISTS (SELECT 1 FROM leases AS l WHERE l.image = i.id AND l.until > :now)
    ORDER BY (SELECT max(s.id) FROM showings AS s WHERE s.image = i.id) LIMIT 1"""
_OPEN = f"""SELECT s.id, i.sha256, s.reason, s.probability, s.candidates FROM showings AS s
    JOIN images AS i ON i.id = s.image JOIN leases AS l ON l.image = i.id AND l.who = :who AND l.until > :now
    WHERE {_SCOPE} AND s.who = :who AND NOT EXISTS (SELECT 1 FROM events AS e WHERE e.showing = s.id)
    AND s.id = (SELECT max(n.id) FROM showings AS n WHERE n.image = i.id) ORDER BY s.id"""


@dataclass(frozen=True)
class Showing:
    """An image that a queue gave out, leased to the person who asked.

    Attributes:
        id: number, which goes into the label.
        image: SHA-256.
        reason: the order that chose it; "random" for a uniform draw; "again" where it had been skipped or its label
            was taken back.
        probability: with which this image was chosen; None for "again".
        candidates: out of how many; None for "again".
    """

    id: int
    image: str
    reason: str
    probability: float | None
    candidates: int | None


class Queue:
    """A person's way through the unlabelled images of a store.

    Args:
        who: name of the person.
        model: SHA-256 of the model whose scores give the order; "nearest" and "anomalous" need one.
        order: see the module.
        threshold: of the score; "nearest" needs it.
        source: only images from there.
        random_share: share of uniform draws; at least `RANDOM_SHARE`.
        rng: random numbers; default from the system.

    Raises:
        LabelError: something the order needs is missing.
    """

    def __init__(
        self,
        store: LabelStore,
        who: str,
        *,
        model: str | None = None,
        order: Order = "random",
        threshold: float | None = None,
        source: str | None = None,
        random_share: float = RANDOM_SHARE,
        rng: random.Random | None = None,
    ) -> None:
        if order not in ORDERS:
            raise LabelError(f"{order!r} is no order of a queue: use {', '.join(ORDERS)}.")
        if order in ("nearest", "anomalous") and model is None:
            raise LabelError(f"The order {order!r} needs a model's scores: choose a model.")
        if order == "nearest" and threshold is None:
            raise LabelError("The order 'nearest' needs a threshold: give one.")
        if not RANDOM_SHARE <= random_share <= 1:
            raise LabelError(f"The share of random images is {random_share:g}: use {RANDOM_SHARE:g} to 1.")
        self.store, self.who, self.model, self.order = store, check_who(who), model, order
        self.threshold, self.scope = threshold, scope_of(source)
        self.random_share = 1.0 if order == "random" else random_share
        self._rng = rng or random.SystemRandom()

    def next(self) -> Showing | None:
        """Chooses an image, leases it to this person and keeps why it was chosen; None where none is left.

        Asked twice, it gives two images: a page can load the second while the first is looked at.
        """
        with self.store.db.write() as connection:
            found = connection.execute(_CANDIDATES, self._values()).fetchall()
            if not found:
                return self._again(connection)
            ranked = rank_chances(self._preference(found))
            chances = self.random_share / len(found) + (1 - self.random_share) * ranked
            reason: str = self.order
            if self._rng.random() < self.random_share:
                reason, place = "random", self._draw(connection, found)
            else:
                (place,) = self._rng.choices(range(len(found)), weights=ranked.tolist())
            return self._show(connection, found[place], reason, float(chances[place]), len(found))

    def open(self) -> list[Showing]:
        """What this person was given and did not label yet, while the leases run; for a page that was loaded again."""
        rows = self.store.db.rows(_OPEN, self._values())
        return [Showing(r["id"], r["sha256"], r["reason"], r["probability"], r["candidates"]) for r in rows]

    def left(self) -> int:
        """Number of images without a label, whoever looks at them."""
        row = self.store.db.row(
            f"SELECT count(*) AS n FROM images AS i WHERE {_SCOPE} "
            "AND NOT EXISTS (SELECT 1 FROM standing AS e WHERE e.image = i.id)",
            {"scope": self.scope},
        )
        return row["n"]

    def _values(self) -> dict[str, object]:
        now = self.store.leases.clock()
        return {"scope": self.scope, "who": self.who, "now": now, "model": self.model}

    def _preference(self, found: list[sqlite3.Row]) -> np.ndarray:
        """A number for each candidate, the most wanted lowest; the rank of equal ones is drawn."""
        if self.order == "newest":
            return -np.array([row["id"] for row in found], float)
        if self.order == "diverse":
            return -self._distances([row["id"] for row in found])
        scores = np.array([np.nan if row["score"] is None else row["score"] for row in found])
        if self.order == "nearest":
            scores = -np.abs(scores - self.threshold)
        preference = np.where(np.isnan(scores), np.inf, -scores)  # without a score: last
        ties = np.array([self._rng.random() for _ in found])
        return np.lexsort((ties, preference)).argsort().astype(float)

    def _distances(self, numbers: list[int]) -> np.ndarray:
        """How much each candidate differs in its colours from the nearest of those that were seen last."""
        rows = self.store.db.rows(
            "SELECT image FROM (SELECT image, at FROM showings UNION ALL SELECT image, at FROM events) "
            "GROUP BY image ORDER BY max(at) DESC LIMIT ?",
            (_LATEST,),
        )
        seen = [row["image"] for row in rows]
        if not seen:
            return np.array([self._rng.random() for _ in numbers])
        colours = self.store.images.colours([*numbers, *seen])
        ours, theirs = colours[: len(numbers)], colours[len(numbers) :]
        squares = (ours**2).sum(1)[:, None] + (theirs**2).sum(1) - 2 * ours @ theirs.T
        return squares.min(axis=1)

    def _draw(self, connection: sqlite3.Connection, found: list[sqlite3.Row]) -> int:
        """Draws from all images of the scope that were not drawn yet until a candidate comes; its place."""
        places = {row["id"]: place for place, row in enumerate(found)}
        undrawn = [
            row["id"]
            for row in connection.execute(
                f"SELECT i.id FROM images AS i WHERE {_SCOPE} AND NOT EXISTS "
                "(SELECT 1 FROM draws AS d WHERE d.scope = :scope AND d.image = i.id)",
                {"scope": self.scope},
            )
        ]
        self._rng.shuffle(undrawn)
        for number in undrawn:
            connection.execute(
                "INSERT INTO draws (scope, image, at) VALUES (?, ?, ?)", (self.scope, number, time.time())
            )
            if number in places:
                return places[number]
        return self._rng.randrange(len(found))  # all were drawn, some while somebody else had them

    def _again(self, connection: sqlite3.Connection) -> Showing | None:
        row = connection.execute(_AGAIN, self._values()).fetchone()
        return None if row is None else self._show(connection, row, "again", None, None)

    def _show(
        self,
        connection: sqlite3.Connection,
        row: sqlite3.Row,
        reason: str,
        probability: float | None,
        candidates: int | None,
    ) -> Showing:
        self.store.leases.take_number(row["id"], self.who)
        values = (row["id"], self.who, reason, probability, candidates, self.scope, self.model, time.time())
        number = connection.execute(
            "INSERT INTO showings (image, who, reason, probability, candidates, scope, model, at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        ).lastrowid
        return Showing(number, row["sha256"], reason, probability, candidates)


def scope_of(source: str | None) -> str:
    """The scope of a source's images; None: of all images."""
    return EVERYTHING if source is None else printable(source)


def rank_chances(preference: np.ndarray) -> np.ndarray:
    """Probabilities (n,) proportional to 1 / rank, the lowest preference having rank 1."""
    ranks = np.argsort(np.argsort(preference, kind="stable"), kind="stable") + 1
    chances = 1 / ranks
    return chances / chances.sum()
