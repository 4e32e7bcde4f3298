"""Models look at stored images in the background, one model after another, in one thread for the whole server."""

from __future__ import annotations

import threading
from collections.abc import Callable

from altub.inference.model_cache import ModelCache
from altub.labels import LabelStore, score_images
from altub.ui.background import BackgroundTask, Report
from altub.ui.offers import find_model

__all__ = ["Scorer"]


class Scorer:
    """Scores what the chosen models have not seen yet; every open page watches it.

    Args:
        models: the loaded models.
        store: gives the label store, which is opened when it is first needed.
    """

    def __init__(self, models: ModelCache, store: Callable[[], LabelStore]) -> None:
        self._models, self._store = models, store
        self.task = BackgroundTask("Scoring")
        self._waiting: dict[str, None] = {}  # in order of arrival
        self._lock = threading.Lock()

    @property
    def is_busy(self) -> bool:
        return self.task.is_running or bool(self._waiting)

    def ask(self, run_id: str) -> None:
        """Scores all images that this run's model has not seen; returns at once."""
        with self._lock:
            self._waiting[run_id] = None
        self.go_on()

    def go_on(self) -> None:
        """Starts the thread if a model waits and none runs: one that was asked for while the last was ending."""
        if self._waiting:
            self.task.start(self._work)

    def _take(self) -> str | None:
        with self._lock:
            run_id = next(iter(self._waiting), None)
            self._waiting.pop(run_id or "", None)
        return run_id

    def _work(self, report: Report, should_stop: Callable[[], bool]) -> str:
        store, scored, failed = self._store(), 0, 0
        while (run_id := self._take()) is not None:
            model = self._models.get(find_model(run_id).model_dir)

            def tell(done: int, of: int) -> None:
                if of:
                    report(done / of, f"{done} of {of} images")

            done = score_images(store, model.detector, model.weights_sha256, progress=tell, should_stop=should_stop)
            scored, failed = scored + done.images, failed + len(done.errors)
        if failed:
            return f"{scored} images scored; {failed} cannot be read."
        return f"{scored} images scored." if scored else ""
