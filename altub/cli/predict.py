"""The commands `predict` and `evaluate`: a trained model on images, and on a test set."""

from __future__ import annotations

import heapq
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from altub.cli.options import BAD_INPUT, Data, Device, Json, Model, OwnRate, threshold_at
from altub.errors import ConfigError, DataError
from altub.files import printable
from altub.metrics import METRICS

if TYPE_CHECKING:
    from altub.inference.folder import Engine
    from altub.inference.table import Row
    from altub.inference.threshold import Threshold

__all__ = ["register"]

MOST_SHOWN, MOST_ERRORS = 10, 100  # in the terminal; all are in the table


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command()(evaluate)
    app.command()(predict)


def evaluate(
    model: Model,
    category: Annotated[str, typer.Option(help="Category whose test set is used.")],
    data: Data = "sample",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Metrics of a trained model on a test set."""
    from altub.data import load_category
    from altub.evaluation.evaluate import evaluate_verdicts
    from altub.inference.detector import AnomalyDetector

    chosen = load_category(data, category)
    if not chosen.test:
        raise DataError(f"Category {category} has no test images, so there is nothing to evaluate on.")
    detector = AnomalyDetector.load(model, device)
    metrics, verdicts = evaluate_verdicts(detector, chosen)
    if as_json:
        print(json.dumps({**metrics.as_dict(), "verdicts": verdicts.to_dict()}))
        return
    for name, value in metrics.as_dict().items():
        print(f"{METRICS[name].label:<14} {'-' if value is None else f'{value:.4f}'}")
    print(f"{detector.threshold.origin.promise} {verdicts.sentence}")
    for what, names in (("Missed", verdicts.missed), ("False alarms", verdicts.false_alarms)):
        if names:
            print(f"{what}: {', '.join(map(printable, names))}")


def predict(
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of them.")],
    model: Model,
    output: Annotated[Path, typer.Option(help="Folder for overlays, maps, masks and predictions.csv.")],
    false_alarm_rate: OwnRate = None,
    overlays: Annotated[str, typer.Option(help="Format of overlays: png, jpeg, webp or none.")] = "png",
    maps: Annotated[
        str, typer.Option(help="Format of maps: tiff (raw values), png (16 bits, 1000 times the unit) or none.")
    ] = "tiff",
    masks: Annotated[bool, typer.Option(help="Write masks.")] = True,
    decode: Annotated[
        str,
        typer.Option(
            help="full, or reduced: large JPEGs at a part of their size, faster, with slightly other scores; needs "
            "--overlays none."
        ),
    ] = "full",
    report: Annotated[bool, typer.Option("--report", help="Also write report.html, with all pictures in it.")] = False,
    on: Annotated[
        str, typer.Option(help="Where: here, in this process, or ray, on the workers of a Ray cluster.")
    ] = "here",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Of ray.", show_default="one for each GPU, or core, of the cluster")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Heatmaps, masks and verdicts for images."""
    from altub.cli.progress import CountBar
    from altub.inference.comparability import UNCHECKED
    from altub.inference.detector import AnomalyDetector
    from altub.inference.export_files import MAP_FORMATS, OVERLAY_FORMATS, check_format
    from altub.inference.exports import collect_images
    from altub.inference.folder import predict_to_folder

    existing = next(path for path in (output, *output.parents) if path.exists())
    if not existing.is_dir():
        raise DataError(f"{existing} is a file, not a folder: give another --output.")
    check_format("Overlays", overlays, OVERLAY_FORMATS)
    check_format("Maps", maps, MAP_FORMATS)
    if decode not in ("full", "reduced"):
        raise ConfigError(f"Images are not decoded {decode!r}: use --decode full or reduced.")
    if decode == "reduced" and (overlays != "none" or report):
        raise ConfigError("--decode reduced leaves no image to draw on: add --overlays none, without --report.")
    engine = _engine(on, model, workers, device, report)
    found = collect_images(images, skip=output)
    detector = AnomalyDetector.load(model, device, for_scoring=True)
    threshold = threshold_at(detector, false_alarm_rate)
    if threshold.warning:
        print(f"Note: {threshold.warning}", file=sys.stderr)
    if detector.comparability is None:
        print(f"Note: {UNCHECKED}", file=sys.stderr)
    seen = _Seen()

    def on_row(row: Row) -> None:
        seen.add(row)
        if as_json:
            print(json.dumps(row))

    with CountBar("images") as bar:
        before = predict_to_folder(
            detector,
            found,
            output,
            threshold=threshold,
            overlays=overlays,
            maps=maps,
            masks=masks,
            report=f"{detector.info.category} · {detector.config.backbone}" if report else None,
            reduced=decode == "reduced",
            engine=engine,
            on_row=on_row,
            on_resume=bar.resume,
            progress=bar.update,
        )
    if before:
        print(f"Note: {before} of {len(found)} images were done before and are kept.", file=sys.stderr)
    for error in seen.errors:
        print(f"Skipped: {error}", file=sys.stderr)
    if seen.failed > len(seen.errors):
        print(f"Skipped: {seen.failed - len(seen.errors)} more; predictions.csv says why.", file=sys.stderr)
    if not as_json:
        seen.print_summary(threshold)
        print(f"Table: {output / 'predictions.csv'}")
    if seen.failed == len(found):
        raise typer.Exit(BAD_INPUT)


def _engine(on: str, model: Path, workers: int | None, device: str, report: bool) -> Engine:
    """
    Raises:
        ConfigError: the options do not go together.
        MissingExtraError: Ray is not installed.
    """
    from altub.inference.folder import in_threads

    if on == "here":
        if workers is not None:
            raise ConfigError("--workers goes with --on ray: one process has its threads.")
        return in_threads
    if on != "ray":
        raise ConfigError(f"Images cannot be predicted on {on!r}: use --on here or ray.")
    if report:
        raise ConfigError("report.html is written by one process only: leave out --report, or --on ray.")
    from altub.inference.ray_engine import RayEngine

    return RayEngine(model, workers=workers, device=device)


class _Seen:
    """What is told of the rows at the end, of any number of them."""

    def __init__(self) -> None:
        self.failed = 0
        self.errors: list[str] = []
        self.counts: Counter[str] = Counter()
        self.limit = 0.0
        self._highest: list[tuple[float, int, str, str]] = []  # a heap: score, order (the first of equals wins), words

    def add(self, row: Row) -> None:
        if row["error"]:
            self.failed += 1
            if len(self.errors) < MOST_ERRORS:
                self.errors.append(row["error"])
            return
        self.limit = row["anomaly_threshold"]
        order = -self.counts.total()
        self.counts[row["verdict"]] += 1
        entry = row["anomaly_score"], order, row["verdict"], row["image"]
        (heapq.heappush if len(self._highest) < MOST_SHOWN else heapq.heappushpop)(self._highest, entry)

    def print_summary(self, threshold: Threshold) -> None:
        """Counts, what the threshold promises, and the most anomalous images with their anomaly scores."""
        count = self.counts.total()
        if not count:
            return
        kinds = ("defect", "borderline", "not comparable", "good")
        words = [f"{self.counts[kind]} {kind}" for kind in kinds if self.counts[kind]]
        print(f"{count} image{'s' if count > 1 else ''}: {', '.join(words)}")
        print(f"Threshold {self.limit:.3f}. {threshold.origin.promise}")
        for score, _, verdict, image in sorted(self._highest, reverse=True):
            print(f"{score:10.3f}  {verdict:<10}  {printable(image)}")
