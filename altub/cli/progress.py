"""Progress on the terminal: bars on stderr, so that stdout stays clean for results."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from altub.metrics import METRICS

if TYPE_CHECKING:
    from altub.data.download import Progress as DownloadProgress
    from altub.runs.run import Run
    from altub.training.loop import TrainingEvent
    from altub.training.records import EpochRecord

__all__ = ["CountBar", "DownloadBar", "TrainingBar"]

SHOWN_METRICS = ("image_auroc", "pixel_auroc", "aupro", "f1_max")


class TrainingBar:
    """A bar over the whole training and a line for every epoch."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[loss]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=quiet or not sys.stderr.isatty(),
        )
        self.task = self.bar.add_task("starting", total=1.0, loss="")
        self.notes: set[str] = set()

    def __enter__(self) -> TrainingBar:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def update(self, event: TrainingEvent) -> None:
        status = event.status
        loss = "" if status.loss is None else f"NLL {status.loss:.4f}"
        self.bar.update(self.task, completed=status.progress, description=status.stage, loss=loss)
        for note in status.notes:
            if note not in self.notes and not self.quiet:
                self.console.print(f"Note: {note}")
            self.notes.add(note)
        if event.record is not None and not self.quiet:
            self.console.print(_epoch_line(event.record, status.epochs))

    def summary(self, last: EpochRecord | None, best: EpochRecord | None, run: Run) -> None:
        if last is not None and best is not None:
            print(f"last epoch ({last.epoch}): {_metric_words(last)}")
            print(f"best, chosen on the test set (epoch {best.epoch}): {_metric_words(best)}")
        print(f"model: {run.model_dir}")


class CountBar:
    """So many of so many done."""

    def __init__(self, what: str) -> None:
        self.bar = Progress(
            TextColumn(what),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self.task = self.bar.add_task(what, total=1)

    def __enter__(self) -> CountBar:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def update(self, done: int, total: int) -> None:
        self.bar.update(self.task, completed=done, total=total)


class DownloadBar:
    """Bytes done, speed and time left."""

    def __init__(self) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.task = self.bar.add_task("connecting", total=None)

    def __enter__(self) -> DownloadBar:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def update(self, progress: DownloadProgress) -> None:
        self.bar.update(self.task, completed=progress.done, total=progress.total, description=progress.phase)


def _epoch_line(record: EpochRecord, epochs: int) -> str:
    loss = "closed form" if record.loss is None else f"{record.loss:.4f}"
    held_out = "-" if record.held_out is None else f"{record.held_out:.4f}"
    line = f"epoch {record.epoch:>3}/{epochs}  {record.phase:<4}  NLL {loss}  held out {held_out}"
    return line + (f"  {_metric_words(record)}" if record.test else "")


def _metric_words(record: EpochRecord) -> str:
    values = ((METRICS[name].label, record.value(name)) for name in SHOWN_METRICS)
    return ", ".join(f"{label} {value:.4f}" for label, value in values if value is not None)
