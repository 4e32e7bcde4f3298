"""What a training came to, on stdout."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from altub.cli.progress import TrainingBar
    from altub.runs.run import Run
    from altub.training.records import EpochRecord

__all__ = ["metrics_of", "report"]


def report(run: Run, bar: TrainingBar, as_json: bool, quiet: bool) -> None:
    """The last and the best epoch's metrics: one line of JSON, or a few of text."""
    status = run.read_status()
    last, best = run.last_and_best()
    if as_json:
        result = {"last": metrics_of(last), "best": {**metrics_of(best), "epoch": best and best.epoch}}
        result |= {"epochs": status.epoch, "seconds": round(status.seconds, 1), "run_dir": str(run.path)}
        print(json.dumps(result))
    elif not quiet:
        bar.summary(last, best, run)


def metrics_of(record: EpochRecord | None) -> dict[str, float | None]:
    """The metrics of an epoch; None where one was not measured."""
    from altub.metrics import Metrics

    return ((record and record.test) or Metrics()).as_dict()
