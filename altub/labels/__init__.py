"""Labels that people give: a store, queues, what the labels say, and their exports. No page is in here.

What a page or a program uses, in the order of a working day; every image is named by its SHA-256:

    store = LabelStore()                                 one per process; `ALTUB_DB` says where it is
    image = store.images.add(path, source="line 3")      the same bytes twice are one image
    store.proposals.add(image.sha256, model, ...)        score, p-value and map of a model, kept
    queue = Queue(store, who, model=model, order="nearest", threshold=t)
    showing = queue.next()                               leased for 5 minutes; why and with what probability is kept
    store.leases.take(image, who)                        renews it; `queue.open()` after a reload
    store.labels.add(image, who, "defect", defect_type=..., mask=..., proposal=..., showing=showing.id)
    store.labels.undo(event, who)                        `store.labels.last_by(who)` is what Ctrl+Z takes back
    browse(store, show="disagreement", ...)              lists to look through, a page at a time
    back_up(store, file); check(store)

Everything raises `LabelError` or another `AltUBError` with a sentence for the person. Calls are safe from several
threads and processes; each is one transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.labels.backup import back_up, check
    from altub.labels.browse import browse
    from altub.labels.queue import Queue
    from altub.labels.store import LabelStore

__all__ = ["LabelStore", "Queue", "back_up", "browse", "check"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "LabelStore": ".store",
        "Queue": ".queue",
        "back_up": ".backup",
        "browse": ".browse",
        "check": ".backup",
    },
)
