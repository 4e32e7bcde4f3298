"""Many images to a folder of results: decoded, predicted and written side by side, in bounded memory.

A prediction that was killed goes on when the same command is given again (`altub.inference.journal`), and ends with the
table that it would have ended with.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from altub.data.images.budget import LANE_PIXELS
from altub.data.images.reading import ImageChunk, image_chunks
from altub.errors import ConfigError
from altub.files import explain_full_disk
from altub.inference.exports import PredictionWriter
from altub.inference.journal import PredictionJournal
from altub.inference.pipeline import run_in_order, threads_for
from altub.inference.report import ReportWriter
from altub.inference.table import Row, error_row
from altub.version import __version__

if TYPE_CHECKING:
    from altub.inference.calibration import Calibration
    from altub.inference.detector import AnomalyDetector
    from altub.inference.export_files import MapFormat, OverlayFormat
    from altub.inference.prediction import Prediction
    from altub.inference.threshold import Threshold

__all__ = ["ChunkPredictor", "Done", "Engine", "Job", "in_threads", "predict_to_folder"]


Done = list[tuple[Path, str, Row]]
"""Images of one chunk, each with the file name of its pictures and its row."""


@dataclass(frozen=True)
class Job:
    """An image, and the file name of its pictures."""

    path: Path
    name: str


class Engine(Protocol):
    """Where chunks of images are predicted; by default in threads of this process (`in_threads`)."""

    def __call__(self, jobs: Iterable[Job], predictor: ChunkPredictor) -> Iterator[Done]:
        """The chunks in any order, each once its pictures are written."""


class ChunkPredictor:
    """Predicts the images of a chunk and writes their pictures; several threads may call it at the same time.

    Args:
        writer: writes the pictures.
        paper: a report that gets the images as well.
        reduced: large JPEGs are decoded at a part of their size, which is several times faster and changes scores a
            little (`AnomalyDetector.read_enough`).

    Raises:
        ConfigError: pictures are wanted that show the images, which are not decoded at their own size.
    """

    def __init__(
        self,
        detector: AnomalyDetector,
        writer: PredictionWriter,
        image_size: int | None = None,
        paper: ReportWriter | None = None,
        reduced: bool = False,
    ) -> None:
        if reduced and (paper is not None or writer.overlays != "none"):
            raise ConfigError("Overlays and reports show images at their own size: use them without reduced decoding.")
        self.detector, self.writer, self.image_size, self.paper = detector, writer, image_size, paper
        self.reduced = reduced
        self._at_paper = threading.Lock()

    def chunks(self, jobs: Iterable[Job]) -> Iterator[ImageChunk[Job]]:
        """Jobs as chunks that are not decoded yet."""
        enough = self.detector.read_enough(self.image_size) if self.reduced else None
        white = self.detector.config.pixel_range
        return image_chunks(jobs, lambda job: job.path, pixel_range=white, enough=enough)

    def __call__(self, chunk: ImageChunk[Job]) -> Done:
        rows = []
        with chunk.decoded() as decoded:
            found = zip(decoded, chunk.own_sizes(), strict=True)
            readable = [(image, size) for (_, image), size in found if isinstance(image, Image.Image)]
            images, sizes = [image for image, _ in readable], [size for _, size in readable]
            predictions = self.detector.predict_many(images, image_size=self.image_size, sizes=sizes)
            for job, image in decoded:
                if isinstance(image, Image.Image):
                    row = self._write(job, image, next(predictions))
                else:
                    row = self._write_error(job, str(image))
                rows.append((job.path, job.name, row))
            readable.clear()
            images.clear()
        return rows

    def _write(self, job: Job, image: Image.Image, prediction: Prediction) -> Row:
        row = self.writer.write(job.name, str(job.path), image, prediction)
        if self.paper is not None:
            with self._at_paper:
                self.paper.add(str(job.path), image, prediction, prediction.verdict(self.writer.threshold))
        return row

    def _write_error(self, job: Job, error: str) -> Row:
        if self.paper is not None:
            with self._at_paper:
                self.paper.add_error(str(job.path), error)
        return error_row(str(job.path), error)


def in_threads(jobs: Iterable[Job], predictor: ChunkPredictor) -> Iterator[Done]:
    """The engine that works in this process."""
    done = run_in_order(
        predictor,
        predictor.chunks(jobs),
        threads=threads_for(predictor.detector.device),
        weight=lambda chunk: chunk.pixels,
        most=LANE_PIXELS,
        discard=lambda chunk: chunk.files.close(),
    )
    return (rows for _, rows in done)


class _FolderWriter(PredictionWriter):
    """A writer whose rows are in a journal instead of in memory."""

    def __init__(
        self,
        journal: PredictionJournal,
        images: Sequence[Path],
        folder: Path,
        calibration: Calibration,
        threshold: Threshold,
        **formats: Any,
    ) -> None:
        super().__init__(folder, calibration, threshold, **formats)
        self.journal, self.images = journal, images

    def close(self) -> None:
        with self._writing("predictions.csv") as file:
            self.write_table((row for _, row in self.journal.entries(self.images)), file)
        self.journal.close(remove=all(image in self.journal for image in self.images))


def predict_to_folder(
    detector: AnomalyDetector,
    images: Sequence[Path],
    folder: str | Path,
    *,
    threshold: Threshold | None = None,
    image_size: int | None = None,
    overlays: OverlayFormat = "png",
    maps: MapFormat = "tiff",
    masks: bool = True,
    report: str | None = None,
    reduced: bool = False,
    engine: Engine = in_threads,
    on_row: Callable[[Row], None] = lambda row: None,
    on_resume: Callable[[int], None] = lambda before: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Predicts every image and writes the files of `altub.inference.exports`; an unreadable one becomes a row with an
    error. What an earlier call with the same model and settings did before it was killed is not done again.

    Args:
        images: from `collect_images`.
        threshold: of verdicts and masks; None: the model's own.
        overlays, maps, masks: as in `PredictionWriter`.
        report: name of the model in report.html (`altub.inference.report`); None writes no report. With a report,
            which holds pictures of all images, everything is done anew.
        reduced: as of `ChunkPredictor`.
        engine: where the work is done.
        on_row: called with the row of every image, first those that were done before.
        on_resume: called first where some images had been done before, with their number.
        progress: called with the number of images done and the number of all.

    Returns:
        How many of the images had been done before.

    Raises:
        ModelError: the model was never calibrated.
        ConfigError: as from `ChunkPredictor`.
        DiskFullError: there is no room; predictions.csv holds what was done, if there is room for that.
    """
    calibration, threshold, folder = detector.require_calibration(), threshold or detector.threshold, Path(folder)
    formats = {"overlays": overlays, "maps": maps, "masks": masks}
    with ExitStack() as stack:
        made_by = {"model": detector.fingerprint(), "threshold": threshold.to_dict(), "version": __version__}
        if reduced:
            made_by["decode"] = "reduced"
        key = hashlib.sha256(json.dumps([made_by, image_size, formats], sort_keys=True).encode()).hexdigest()
        journal = PredictionJournal(folder, key if report is None else secrets.token_hex(8))
        writer = stack.enter_context(_FolderWriter(journal, images, folder, calibration, threshold, **formats))
        paper = None
        if report is not None:
            with explain_full_disk(folder):
                paper = stack.enter_context(ReportWriter(folder / "report.html", report, calibration, threshold))
        predictor = ChunkPredictor(detector, writer, image_size, paper, reduced)
        before = done = sum(path in journal for path in images)
        if before:
            on_resume(before)
        for name, row in journal.entries(images):
            writer.unique.take(name)
            on_row(row)
        if before:
            progress(before, len(images))
        jobs = (Job(path, writer.unique(str(path))) for path in images if path not in journal)
        for rows in engine(jobs, predictor):
            journal.add(rows)
            for _, _, row in rows:
                done += 1
                on_row(row)
                progress(done, len(images))
    return before
