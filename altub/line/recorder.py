"""The inspection log as the page and its endpoint for machines write it: in the way of no inspection.

    recorder = Recorder(lambda: InspectionLog())
    recorder.add([inspection_of("page", "part.png", score, p_value, verdict, ...)])

A log that cannot be written is reported once on the server's log, and inspections go on without it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from altub import settings
from altub.errors import AltUBError
from altub.inference.prediction import Verdict
from altub.labels.inspections import Inspection, InspectionLog

__all__ = ["CAMERA", "MACHINES", "PAGE", "Recorder", "inspection_of"]

PAGE, MACHINES, CAMERA = "page", "http", "camera"  # sources; the others are journals of watched folders
DAY = 86_400  # seconds
CLEAN_EVERY = 3600.0  # seconds between two looks for what is too old

logger = logging.getLogger(__name__)


class Recorder:
    """Adds inspections to the log and removes those that the owner wants forgotten (`ALTUB_LOG_DAYS`).

    Args:
        open_log: called when something is logged first.
        enabled: False logs nothing.
    """

    def __init__(self, open_log: Callable[[], InspectionLog] = InspectionLog, *, enabled: bool = True) -> None:
        self._open, self.enabled = open_log, enabled
        self._log: InspectionLog | None = None
        self._complained, self._cleaned = False, -CLEAN_EVERY

    @property
    def log(self) -> InspectionLog:
        """The log itself.

        Raises:
            LabelError: it is damaged, or of a newer version of AltUB.
        """
        if self._log is None:
            self._log = self._open()
        return self._log

    def add(self, inspections: Sequence[Inspection]) -> None:
        """Logs them, if the log can be written."""
        days = settings.log_days()
        if not self.enabled or days == 0 or not inspections:
            return
        try:
            self.log.add(inspections)
            if days is not None and time.monotonic() - self._cleaned > CLEAN_EVERY:
                self._cleaned = time.monotonic()
                self.log.forget(time.time() - DAY * days)
        except AltUBError as error:
            if not self._complained:
                logger.warning("The inspection log is not written: %s", error)
            self._complained = True
        else:
            self._complained = False


def inspection_of(
    source: str,
    name: str,
    score: float,
    p_value: float,
    verdict: Verdict,
    *,
    sha256: str,
    model: str,
    version: int | None,
    statistics: dict[str, float],
) -> Inspection:
    """What is logged of an image that was inspected just now; arguments as of `Inspection`."""
    return Inspection(
        source,
        None,
        name,
        sha256,
        model,
        version,
        verdict.kind,
        score,
        p_value,
        verdict.threshold.value,
        "; ".join(verdict.reasons),
        time.time(),
        statistics,
    )
