"""The commands `runs`, `note`, `stop`, `remove`, `restore` and `follow`: trainings that are there or under way."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from altub.cli import remote
from altub.cli.options import Json, Quiet, RunDir
from altub.cli.results import metrics_of, report

if TYPE_CHECKING:
    from altub.runs.notes import RunNotes

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command()(runs)
    app.command()(note)
    app.command()(stop)
    app.command()(remove)
    app.command()(restore)
    app.command()(follow)


RunId = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run under the runs folder.")]


def runs(
    as_json: Json = False,
    archived: Annotated[bool, typer.Option("--archived", help="List those in the archive too.")] = False,
) -> None:
    """The runs under the runs folder (ALTUB_RUNS), newest first."""
    from altub.metrics import METRICS
    from altub.runs.damaged import list_damaged
    from altub.runs.notes import read_notes
    from altub.runs.run import list_runs
    from altub.settings import runs_root

    found = list_runs()
    if not found:
        print(f"There are no runs in {runs_root()} (the folder of ALTUB_RUNS).", file=sys.stderr)
    for run in found:
        notes = read_notes(run)
        if notes.archived and not archived:
            continue
        status = run.status
        last, _ = run.last_and_best()
        if as_json:
            row = {"run": run.id, "state": status.state, "epoch": status.epoch, "last": metrics_of(last)}
            print(json.dumps({**row, **notes.model_dump(mode="json", exclude={"version"})}))
        else:
            auroc = last and last.value("pixel_auroc")
            shown = "" if auroc is None else f"{METRICS['pixel_auroc'].label} {auroc:.4f}"
            print(f"{run.id:<48} {status.state:<12} epoch {status.epoch}/{status.epochs}  {shown}{_said(notes)}")
    for damaged in list_damaged():
        print(f"{damaged.id} is damaged: {damaged.reason} `altub remove {damaged.id}` deletes it.", file=sys.stderr)


def _said(notes: RunNotes) -> str:
    """Name, mark and tags at the end of a line; empty where there are none."""
    marks = ["in production"] if notes.pinned else []
    parts = [notes.name, *marks, *notes.tags]
    return f"  {', '.join(filter(None, parts))}" if any(parts) else ""


def note(
    run_id: RunId,
    name: Annotated[str | None, typer.Option(help="What it is called in lists.")] = None,
    text: Annotated[str | None, typer.Option(help="Anything to know about it.")] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="A word to find it by; repeat it for more.")] = None,
    pinned: Annotated[bool | None, typer.Option("--in-production/--not-in-production", help="Mark it.")] = None,
    archived: Annotated[bool | None, typer.Option("--archive/--unarchive", help="Leave it out of lists.")] = None,
) -> None:
    """Names a run, tags it, marks it as in production, or archives it; without options, prints its notes."""
    from altub.runs.notes import change_notes, read_notes
    from altub.runs.run import Run

    run = Run.find(run_id)
    given = {"name": name, "notes": text, "tags": tags, "pinned": pinned, "archived": archived}
    changes = {key: value for key, value in given.items() if value is not None}
    notes = change_notes(run, **changes) if changes else read_notes(run)
    print(notes.model_dump_json(exclude={"version"}))


def stop(run_dir: RunDir) -> None:
    """Asks a training to stop; it saves its state first. One on Hugging Face Jobs is cancelled."""
    from altub.runs import queue as jobs
    from altub.runs.run import Run

    note = jobs.stop(Run.open(run_dir))
    print(f"{note} To continue it, add --resume to its command.", file=sys.stderr)


def remove(
    run_id: RunId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Deletes a run for good: its model, its checkpoints and its curves."""
    from altub.runs.damaged import remove_run

    if not yes:
        typer.confirm(f"Delete run {run_id} for good?", abort=True)
    remove_run(run_id)
    print(f"Run {run_id} is deleted.", file=sys.stderr)


def restore(run_id: RunId) -> None:
    """Brings a run back that was deleted in the page, within a day."""
    from altub.runs.trash import restore_run

    print(f"Run {restore_run(run_id).id} is back.", file=sys.stderr)


def follow(run_dir: RunDir, quiet: Quiet = False, as_json: Json = False) -> None:
    """Follows a training on Hugging Face Jobs until it ends; Ctrl+C detaches and leaves it running."""
    from altub.cli.progress import TrainingBar

    bar = TrainingBar(quiet=quiet)
    report(remote.follow(run_dir, bar), bar, as_json, quiet)
