"""The commands `runs`, `stop`, `remove` and `follow`: trainings that are there or under way."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from altub.cli import remote
from altub.cli.options import Json, Quiet, RunDir
from altub.cli.results import metrics_of, report

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command()(runs)
    app.command()(stop)
    app.command()(remove)
    app.command()(follow)


def runs(as_json: Json = False) -> None:
    """The runs under the runs folder (ALTUB_RUNS), newest first."""
    from altub.metrics import METRICS
    from altub.runs.damaged import list_damaged
    from altub.runs.run import list_runs
    from altub.settings import runs_root

    found = list_runs()
    if not found:
        print(f"There are no runs in {runs_root()} (the folder of ALTUB_RUNS).", file=sys.stderr)
    for run in found:
        status = run.status
        last, _ = run.last_and_best()
        if as_json:
            print(json.dumps({"run": run.id, "state": status.state, "epoch": status.epoch, "last": metrics_of(last)}))
        else:
            auroc = last and last.value("pixel_auroc")
            shown = "" if auroc is None else f"{METRICS['pixel_auroc'].label} {auroc:.4f}"
            print(f"{run.id:<48} {status.state:<12} epoch {status.epoch}/{status.epochs}  {shown}")
    for damaged in list_damaged():
        print(f"{damaged.id} is damaged: {damaged.reason} `altub remove {damaged.id}` deletes it.", file=sys.stderr)


def stop(run_dir: RunDir) -> None:
    """Asks a training to stop; it saves its state first. One on Hugging Face Jobs is cancelled."""
    from altub.runs import queue as jobs
    from altub.runs.run import Run

    note = jobs.stop(Run.open(run_dir))
    print(f"{note} To continue it, add --resume to its command.", file=sys.stderr)


def remove(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Name of a run under the runs folder.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Deletes a run for good: its model, its checkpoints and its curves."""
    from altub.runs.damaged import remove_run

    if not yes:
        typer.confirm(f"Delete run {run_id} for good?", abort=True)
    remove_run(run_id)
    print(f"Run {run_id} is deleted.", file=sys.stderr)


def follow(run_dir: RunDir, quiet: Quiet = False, as_json: Json = False) -> None:
    """Follows a training on Hugging Face Jobs until it ends; Ctrl+C detaches and leaves it running."""
    from altub.cli.progress import TrainingBar

    bar = TrainingBar(quiet=quiet)
    report(remote.follow(run_dir, bar), bar, as_json, quiet)
