"""Progress on the terminal: bars on stderr, so that stdout stays clean for results."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from altub.metrics import METRICS

if TYPE_CHECKING:
    from altub.data.fetch import Progress as DownloadProgress
    from altub.evaluation.study import Progress as StudyProgress
    from altub.runs.run import Run
    from altub.training.loop import TrainingEvent
    from altub.training.records import EpochRecord

__all__ = ["CountBar", "DownloadBar", "StudyBar", "TrainingBar"]

SHOWN_METRICS = ("image_auroc", "pixel_auroc", "aupro", "aupimo", "f1_max")


LINE_EVERY = 30.0  # seconds between two lines of a study's progress where there is no terminal


def plain_console() -> Console:
    """stderr, with nothing coloured, interpreted or wrapped."""
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


class _Bar:
    """A `rich` bar, shown between `with` and its end."""

    bar: Progress

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()


class TrainingBar(_Bar):
    """A bar over the whole training and a line for every epoch."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = plain_console()
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


class CountBar(_Bar):
    """A count: done of total, with rate and time left; where there is no terminal a line every 30 seconds."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.console = plain_console()
        self.bar = Progress(
            TextColumn(what),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[more]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task(what, total=1, more="")
        self.began, self.at_first = time.monotonic(), 0
        self.printed_at = self.began

    def resume(self, done: int) -> None:
        """So many were done before: they count in no rate."""
        self.began, self.at_first = time.monotonic(), done

    def update(self, done: int, total: int) -> None:
        now = time.monotonic()
        more = _rate_words(done - self.at_first, total - done, now - self.began)
        self.bar.update(self.task, completed=done, total=total, more=more)
        if self.bar.disable and now - self.printed_at >= LINE_EVERY:
            self.printed_at = now
            self.console.print(f"{self.what}: {done} of {total}, {more}")


class DownloadBar(_Bar):
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

    def update(self, progress: DownloadProgress) -> None:
        self.bar.update(self.task, completed=progress.done, total=progress.total, description=progress.phase)


class StudyBar(_Bar):
    """On a terminal a bar for the study and one for each active run; elsewhere a line every 30 seconds."""

    def __init__(self, total: int) -> None:
        self.console = plain_console()
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[more]}", markup=False),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task(f"{total} runs", total=1.0, more="")
        self.lines: dict[str, Any] = {}
        self.printed_at = -LINE_EVERY

    def update(self, progress: StudyProgress) -> None:
        for name, status in progress.ended:
            if name in self.lines:
                self.bar.remove_task(self.lines.pop(name))
            words = f": {status.message}" if status.message and status.state != "finished" else ""
            self.console.print(f"{name} {status.state} after epoch {status.epoch} of {status.epochs}{words}")
        for name, status in progress.active:
            if name not in self.lines:
                self.lines[name] = self.bar.add_task(name, total=1.0, more="")
            more = f"epoch {status.epoch} of {status.epochs}" if status.epoch else status.stage
            self.bar.update(self.lines[name], completed=status.progress, more=more)
        summary = _study_words(progress)
        self.bar.update(self.task, completed=progress.share, description=summary, more=_time_left(progress))
        self._print(progress, summary)

    def _print(self, progress: StudyProgress, summary: str) -> None:
        if not self.bar.disable or (not progress.ended and time.monotonic() - self.printed_at < LINE_EVERY):
            return
        self.printed_at = time.monotonic()
        active = ", ".join(f"{name} epoch {status.epoch}/{status.epochs}" for name, status in progress.active)
        parts = (summary, active, _time_left(progress))
        self.console.print("; ".join(filter(None, parts)))


def _epoch_line(record: EpochRecord, epochs: int) -> str:
    loss = "closed form" if record.loss is None else f"{record.loss:.4f}"
    held_out = "-" if record.held_out is None else f"{record.held_out:.4f}"
    line = f"epoch {record.epoch:>3}/{epochs}  {record.phase:<4}  NLL {loss}  held out {held_out}"
    return line + (f"  {_metric_words(record)}" if record.test else "")


def _metric_words(record: EpochRecord) -> str:
    values = ((METRICS[name].label, record.value(name)) for name in SHOWN_METRICS)
    return ", ".join(f"{label} {value:.4f}" for label, value in values if value is not None)


def _study_words(progress: StudyProgress) -> str:
    failed = f", {progress.failed} failed" if progress.failed else ""
    stopping = ", stopping" if progress.stopping else ""
    return f"{progress.finished} of {progress.total} runs done{failed}{stopping}"


def _time_left(progress: StudyProgress) -> str:
    if progress.seconds_left is None or progress.stopping:
        return ""
    return f"{_duration(progress.seconds_left)} left"


def _rate_words(done: int, left: int, seconds: float) -> str:
    """ "31.2 a second, 4 min 10 s left"; empty where nothing is done yet."""
    if done <= 0 or seconds <= 0:
        return ""
    rate = done / seconds
    return f"{rate:.1f} a second, {_duration(left / rate)} left"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
