"""Labels that people give: a store, queues, what the labels say, and their exports. No page is in here.

What a page or a program uses, in the order of a working day; every image is named by its SHA-256:

    store = LabelStore()                                 one per process; `ALTUB_DB` says where it is
    image = store.images.add(path, source="line 3")      the same bytes twice are one image
    score_images(store, detector, model)                 in the background; model: SHA-256 of its weights
    queue = Queue(store, who, model=model, order="nearest", threshold=t)
    showing = queue.next()                               leased for 5 minutes; why and with what probability is kept
    store.proposals.get(showing.image, model)            score and p-value; `store.proposals.map(...)` its map
    store.leases.take(image, who)                        renews it; `queue.open()` after a reload
    store.labels.add(image, who, "defect", defect_type=..., mask=..., proposal=..., showing=showing.id)
    store.labels.undo(event, who)                        `store.labels.last_by(who)` is what Ctrl+Z takes back
    browse(store, show="disagreement", ...)              lists to look through, a page at a time

What the labels say, live after every label:

    seen = training_images(model_folder)                 or None; their scores say nothing of other images
    sample = read_sample(store, model, exclude=seen.trained)
    label_curves(sample), confusion(sample, value)       numbers to draw
    promised_threshold(sample.evidence, "recall", 0.95, pixel_value=...)     or NoPromiseError with what it takes
    cheapest_threshold(sample, cost_ratio, pixel_value=...)
    extend_calibration(model_folder, store)          good labels join the calibration, as a new version of the model

And `export_labels`, `push_labels`, `import_labels`, `write_training_set`, `back_up`, `check`. Everything raises
`LabelError` or another `AltUBError` with a sentence for the person. Calls are safe from several threads and processes;
each is one transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.labels.backup import back_up, check
    from altub.labels.calibration import extend_calibration, extended_calibration, extension_of, read_extension
    from altub.labels.curves import confusion, label_curves
    from altub.labels.formats import export_labels, import_labels
    from altub.labels.lists import browse
    from altub.labels.publish import push_labels
    from altub.labels.queue import Queue
    from altub.labels.sample import read_sample
    from altub.labels.scoring import score_images
    from altub.labels.store import LabelStore
    from altub.labels.thresholds import NoPromiseError, cheapest_threshold, promised_threshold
    from altub.labels.training_data import training_images
    from altub.labels.training_set import write_training_set

__all__ = [
    "LabelStore",
    "NoPromiseError",
    "Queue",
    "back_up",
    "browse",
    "cheapest_threshold",
    "check",
    "confusion",
    "export_labels",
    "extend_calibration",
    "extended_calibration",
    "extension_of",
    "import_labels",
    "label_curves",
    "promised_threshold",
    "push_labels",
    "read_extension",
    "read_sample",
    "score_images",
    "training_images",
    "write_training_set",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "LabelStore": ".store",
        "NoPromiseError": ".thresholds",
        "Queue": ".queue",
        "back_up": ".backup",
        "browse": ".lists",
        "cheapest_threshold": ".thresholds",
        "check": ".backup",
        "confusion": ".curves",
        "export_labels": ".formats",
        "extend_calibration": ".calibration",
        "extended_calibration": ".calibration",
        "extension_of": ".calibration",
        "import_labels": ".formats",
        "label_curves": ".curves",
        "promised_threshold": ".thresholds",
        "push_labels": ".publish",
        "read_extension": ".calibration",
        "read_sample": ".sample",
        "score_images": ".scoring",
        "training_images": ".training_data",
        "write_training_set": ".training_set",
    },
)
