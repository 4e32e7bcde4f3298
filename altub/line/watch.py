"""A watched folder: images are inspected as they arrive, each exactly once, also after the program was killed.

    OUTPUT/
      results.jsonl, results.csv    a line for each file
      overlays/<hash>-<name>.png  the photo with its heatmap
      good/, defect/, ...           the files themselves, where they are moved or copied
      drift.json                    the drift alarm, if there is one
      journal.db                    what was done; see `altub.line.journal`
      .stop                         somebody asks the watch to end

An image is inspected, its result written to the journal in one transaction, and everything else follows from that. A
file that cannot be read gets the verdict "unreadable" with the reason. Memory does not grow with the number of files:
a few are open at a time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
from PIL import Image

from altub.data import opened_in_chunks
from altub.errors import DataError, ImageError, RunError
from altub.files import explain_full_disk, printable, replacing, write_json
from altub.inference.drawing import draw_verdict
from altub.inference.exports import UniqueNames
from altub.inference.model_cache import LoadedModel, ModelCache
from altub.inference.model_files import read_config
from altub.inference.prediction import Prediction
from altub.labels.inspections import Inspection, InspectionLog
from altub.line.arrivals import SETTLE_SECONDS, Arrivals
from altub.line.delivery import Delivery
from altub.line.drift import DEFAULT_LEVEL, Alarm, DriftWatch
from altub.line.filing import Filing, file_away, target_of
from altub.line.journal import Arrival, Entry, Journal
from altub.line.mqtt import Mqtt
from altub.line.statistics import measure
from altub.line.tables import Tables
from altub.line.webhook import Webhook

if TYPE_CHECKING:
    from altub.inference.detector import AnomalyDetector

__all__ = ["LOCK_FILE", "STOP_FILE", "UNREADABLE", "Counted", "FolderWatch"]

LOCK_FILE, STOP_FILE, JOURNAL_FILE = ".watch.lock", ".stop", "journal.db"
UNREADABLE = "unreadable"
AT_ONCE = 8  # files whose results are written in one transaction
LOCK_PATIENCE = 0.5  # seconds
PATIENCE = 10.0  # times the settling time, in which a damaged file may still be on its way


@dataclass(frozen=True)
class Counted:
    """What a watch did so far: files by verdict, and the drift alarm if there is one."""

    verdicts: dict[str, int]
    alarm: Alarm | None

    @property
    def files(self) -> int:
        return sum(self.verdicts.values())


class FolderWatch:
    """Watches a folder; made once, then `run`.

    Args:
        folder: where images arrive.
        model: folder of a saved model; a new version of it is taken up between two images.
        output: for results; may lie in `folder`.
        filing: "leave" the files where they are, "move" or "copy" them to a folder of their verdict.
        overlays: write a picture with the heatmap for each image.
        log: gets every inspection as well.
        webhook: (url, secret) that gets every result; see `altub.line.webhook`.
        mqtt: (address, user, password) of a broker that does; see `altub.line.mqtt`.
        device: as in `AnomalyDetector.load`.
        drift_level: of the drift alarm.
        settle: seconds in which a complete file does not change.
        tell: called with sentences for the person: alarms, problems.

    Raises:
        DataError: `folder` is none.
        RunError: another program watches with this output, or its journal is damaged.
        ModelError: there is no usable model.
        ConfigError: the webhook or the broker is not possible.
    """

    def __init__(
        self,
        folder: str | Path,
        model: str | Path,
        output: str | Path,
        *,
        filing: Filing = "leave",
        overlays: bool = True,
        log: InspectionLog | None = None,
        webhook: tuple[str, str] | None = None,
        mqtt: tuple[str, str, str] | None = None,
        device: str = "auto",
        drift_level: float = DEFAULT_LEVEL,
        settle: float = SETTLE_SECONDS,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.folder, self.model, self.output = Path(folder), Path(model), Path(output)
        if not self.folder.is_dir():
            raise DataError(f"{self.folder} is no folder: give the one in which images arrive.")
        if self.output.resolve() == self.folder.resolve():
            raise DataError("The output cannot be the watched folder itself: give another --output.")
        self.filing, self.overlays, self.log, self.tell = filing, overlays, log, tell
        self.drift_level = drift_level
        self._models = ModelCache(1, device)
        self._models.get(self.model)  # a model that cannot be used fails at once
        with explain_full_disk(self.output):
            self.output.mkdir(parents=True, exist_ok=True)
        # A page that looks whether somebody watches holds the lock for a moment.
        self._lock = filelock.FileLock(self.output / LOCK_FILE, timeout=LOCK_PATIENCE)
        try:
            self._lock.acquire()
            (self.output / STOP_FILE).unlink(missing_ok=True)  # meant for an earlier one
        except filelock.Timeout as error:
            raise RunError(f"Another program watches with the output {self.output}: stop it first.") from error
        self.journal = Journal(self.output / JOURNAL_FILE)
        self.arrivals = Arrivals(self.folder, self.output, self.journal.knows, settle=settle)
        self.deliveries: list[Delivery] = [Webhook(self.journal, *webhook, tell=tell)] if webhook else []
        if mqtt:
            self.deliveries.append(Mqtt(self.journal, *mqtt, tell=tell))
        self._channels = [delivery.channel for delivery in self.deliveries]
        self._drift: tuple[str, DriftWatch] | None = None
        self._damaged: dict[Arrival, float] = {}  # files that could not be read, and when that was first

    def run(
        self,
        *,
        once: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] = lambda files: None,
    ) -> Counted:
        """Inspects what arrives until it is asked to stop.

        Args:
            once: end when every file that is there has a result.
            should_stop: asked between a few files, as is whether the file `.stop` lies in the output folder.
            progress: called with the number of files that were inspected in this run.
        """
        done, stop_file = 0, self.output / STOP_FILE

        def ends() -> bool:
            return should_stop() or stop_file.exists()

        try:
            tables = Tables(self.output, self.journal)
            self._finish()
            for delivery in self.deliveries:
                delivery.start()
            while not ends():
                batch, more = self.arrivals.ready(AT_ONCE)
                last = self._inspect(batch, tables) if batch else 0
                done += last
                if last:
                    progress(done)
                if not batch or not last:
                    if once and not batch and not more:
                        break
                    self.arrivals.wait(ends)
        finally:
            for delivery in self.deliveries:
                if left := delivery.close(patience=10.0 if once else 0.0):
                    self.tell(f"{left} messages by {delivery.channel} are not delivered; the next start sends them.")
        return Counted(self.journal.counts(), self._drift[1].alarm if self._drift else None)

    def close(self) -> None:
        """Lets others watch with this output."""
        self.journal.close()
        self._lock.release()

    def __enter__(self) -> FolderWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Inspection.

    def _inspect(self, batch: Sequence[Arrival], tables: Tables) -> int:
        """Results of some files into the journal, then what follows from them; how many they were."""
        loaded = self._models.get(self.model)
        detector, version = loaded.detector, read_config(self.model).version
        about = {"model": loaded.weights_sha256, "version": None if version is None else version.number}
        before = self.journal.last()
        results: list[tuple[Arrival, dict[str, Any], str | None]] = []
        for chunk in opened_in_chunks(batch, lambda file: file.path, pixel_range=detector.config.pixel_range):
            photos = [photo for _, photo in chunk if isinstance(photo, Image.Image)]
            predictions = detector.predict_many(photos)
            for arrival, photo in chunk:
                if isinstance(photo, ImageError):
                    record = self._unreadable(arrival, photo)
                else:
                    record = self._record(arrival, photo, next(predictions), detector)
                if record is not None and arrival.is_unchanged():
                    target = None if self.filing == "leave" else target_of(arrival.name, record["verdict"])
                    results.append((arrival, {**record, **about}, target))
            predictions.close()
        self._damaged = {arrival: since for arrival, since in self._damaged.items() if arrival.is_unchanged()}
        if not results:
            return 0
        self.journal.add(results, channels=self._channels)
        entries = self.journal.after(before)
        tables.add(entries)
        self._finish()
        self._follow_drift(loaded, entries)
        for delivery in self.deliveries:
            delivery.wake()
        return len(results)

    def _record(
        self, arrival: Arrival, photo: Image.Image, prediction: Prediction, detector: AnomalyDetector
    ) -> dict[str, Any]:
        calibration, threshold = detector.require_calibration(), detector.threshold
        verdict = prediction.verdict(threshold)
        sha256 = _sha256(arrival.path)
        picture = None
        if self.overlays:
            name = UniqueNames()(arrival.name)  # what every file system takes
            picture = f"overlays/{(sha256 or name)[:12]}-{name}.png"
            shown = draw_verdict(photo, prediction, verdict, calibration)
            with explain_full_disk(self.output):
                (self.output / "overlays").mkdir(exist_ok=True)
            with replacing(self.output / picture) as file:
                shown.save(file, "PNG", compress_level=3)
        return {
            **_times(arrival),
            "image": printable(arrival.name),
            "sha256": sha256,
            "verdict": verdict.kind,
            "reason": "; ".join(verdict.reasons),
            "is_anomalous": verdict.is_anomalous,
            "score": prediction.score,
            "anomaly_score": calibration.anomaly_score(prediction.score),
            "p_value": prediction.p_value,
            "threshold": threshold.value,
            "threshold_origin": threshold.origin.kind,
            "marked_area": verdict.marked_area,
            "overlay": picture,
            "error": None,
            "statistics": measure(photo, prediction.model_map).to_dict(),
        }

    def _unreadable(self, arrival: Arrival, error: ImageError) -> dict[str, Any] | None:
        """None where the file may still be on its way."""
        since = self._damaged.setdefault(arrival, time.monotonic())
        if time.monotonic() - since < PATIENCE * self.arrivals.settle:
            return None
        del self._damaged[arrival]
        found = {**_times(arrival), "image": printable(arrival.name), "sha256": None, "verdict": UNREADABLE}
        return found | {"reason": str(error), "error": str(error)}

    # What follows from the journal.

    def _finish(self) -> None:
        """Files to their places, inspections to the log: all that is not marked as done."""
        while entries := self.journal.to_file():
            for entry in entries:
                file_away(entry, self.folder, self.output, self.filing)
            self.journal.mark("filed", entries)
        while entries := self.journal.to_log():
            if self.log is not None:
                self.log.add(_inspection(self.journal.name, entry) for entry in entries)
            self.journal.mark("logged", entries)

    def _follow_drift(self, loaded: LoadedModel, entries: Sequence[Entry]) -> None:
        """Watches the images of the present model; after a start those before it first."""
        if self._drift is None or self._drift[0] != loaded.weights_sha256:
            watch, last = DriftWatch(self.drift_level), 0
            while earlier := [entry for entry in self.journal.after(last) if entry.id < entries[0].id]:
                _watch_all(watch, loaded.weights_sha256, earlier)
                last = earlier[-1].id
            self._drift = (loaded.weights_sha256, watch)
            if watch.alarm is None:  # it was another model's
                (self.output / "drift.json").unlink(missing_ok=True)
        watch = self._drift[1]
        known = watch.alarm
        _watch_all(watch, loaded.weights_sha256, entries)
        if watch.alarm is not None and known is None:
            write_json(self.output / "drift.json", {"model": loaded.weights_sha256, **watch.alarm.to_dict()})
            self.tell(watch.alarm.sentence())
            drift = {"event": "drift", "model": loaded.weights_sha256, **watch.alarm.to_dict()}
            self.journal.post(drift, self._channels)


def _watch_all(watch: DriftWatch, model: str, entries: Sequence[Entry]) -> None:
    for entry in entries:
        record = entry.record
        if record.get("model") == model and record.get("statistics"):
            watch.add({"score": record["score"], **record["statistics"]}, is_good=not record["is_anomalous"])


def _times(arrival: Arrival) -> dict[str, Any]:
    now = time.time()
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(now)),
        "at": now,
        "seconds": round(max(now - arrival.modified / 1e9, 0.0), 3),  # from the file's last change to here
    }


def _inspection(source: str, entry: Entry) -> Inspection:
    record = entry.record
    names = ("sha256", "model", "version", "verdict", "score", "p_value", "threshold", "reason", "at", "statistics")
    return Inspection(source, entry.id, record["image"], **{name: record.get(name) for name in names})


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # it went away; `is_unchanged` says so
        return None
