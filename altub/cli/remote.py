"""`python -m altub train --on hf-jobs` and `follow`: trainings on Hugging Face Jobs, shown like local ones."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from altub.cli.options import STOPPED
from altub.errors import ConfigError, RunError

if TYPE_CHECKING:
    from altub.cli.progress import TrainingBar
    from altub.runs.launchers.base import Follower
    from altub.runs.run import Run

__all__ = ["MVTEC", "JobOptions", "follow", "is_meant", "train"]

HF_JOBS, MVTEC = "hf-jobs", "mvtec-ad"

On = Annotated[str | None, typer.Option("--on", help="hf-jobs: train on Hugging Face Jobs, which cost money.")]
Flavor = Annotated[str | None, typer.Option(help="Hardware of the job; else a10g-small.")]
MirrorRepo = Annotated[str | None, typer.Option("--mirror", help="Private repo that mirrors the run, as user/name.")]
Timeout = Annotated[str | None, typer.Option(help="Time limit of the job, such as 90m; else 6h.")]
UploadData = Annotated[
    bool, typer.Option("--upload-data", help="Upload the category's images to a private data set for the job.")
]
AcceptLicence = Annotated[
    bool, typer.Option("--accept-licence", help="For a job on --data mvtec-ad: you accept CC BY-NC-SA 4.0.")
]
Detach = Annotated[bool, typer.Option("--detach", help="Do not follow the job.")]


@dataclass(frozen=True)
class JobOptions:
    """The options of `train` about a job."""

    on: str | None
    flavor: str | None
    mirror: str | None
    timeout: str | None
    upload_data: bool
    accept_licence: bool
    detach: bool


def is_meant(run_dir: Path, job: JobOptions) -> bool:
    """Is this training one for Hugging Face Jobs?

    Raises:
        ConfigError: options of a job without --on, or another place than hf-jobs.
        RunError: the run is trained elsewhere and would be resumed here.
    """
    from altub.runs.launchers.base import find_launcher
    from altub.runs.run import Run

    if job.on not in (None, HF_JOBS):
        raise ConfigError(f"Cannot train on {job.on!r}: leave --on out, or give --on {HF_JOBS}.")
    if job.on == HF_JOBS:
        return True
    if any((job.flavor, job.mirror, job.timeout, job.upload_data, job.accept_licence, job.detach)):
        raise ConfigError(
            f"--flavor, --mirror, --timeout, --upload-data and --detach belong to --on {HF_JOBS}: add it."
        )
    run = Run(run_dir)
    place = find_launcher(run).place(run)
    if place is not None:
        raise RunError(
            f"The run in {run_dir} is trained on {place.name}: resume it there (--resume --on {HF_JOBS}), or choose "
            "another directory."
        )
    return False


def train(
    run_dir: Path, preset: str | None, settings: dict[str, Any], resume: bool, job: JobOptions, bar: TrainingBar
) -> Run:
    """Submits a new run, or with `resume` one that has ended, and follows it.

    Raises:
        AltUBError: it cannot be submitted, or it failed.
        typer.Exit: it was stopped, or the user detached.
    """
    from altub.cli.settings import open_or_create
    from altub.runs.launchers.hf_jobs import HfJobsLauncher
    from altub.runs.launchers.hf_jobs.submit import check_flavor, data_kind, timeout_seconds
    from altub.runs.run import Run

    if job.flavor is not None:
        check_flavor(job.flavor)
    if job.timeout is not None:
        timeout_seconds(job.timeout)
    launcher = HfJobsLauncher(flavor=job.flavor, timeout=job.timeout, mirror=job.mirror, report=_report)
    if resume and Run(run_dir).launcher is not None:
        if job.mirror or job.upload_data:
            raise ConfigError("A resumed run keeps its mirror and its data: leave --mirror and --upload-data out.")
        run = Run.open(run_dir)
        if run.status.state in ("queued", "running"):
            raise RunError(f"Run {run.id} is {run.status.state} already: `follow` shows it.")
        if run.status.state == "finished" and settings.get("epochs", run.config.epochs) <= run.status.epoch:
            return run
        run = open_or_create(run_dir, preset, settings, resume=True)
        launcher.resume(run)
    else:
        if resume:
            raise RunError(f"{run_dir} holds no run of {HF_JOBS} to resume: leave --resume out.")
        data = data_kind(
            settings.get("data", "sample"),
            settings.get("category", ""),
            upload=job.upload_data,
            accept_licence=job.accept_licence,
        )
        run = _create(run_dir, preset, settings)
        replace(launcher, data=data).start(run)
    place = launcher.place(run)
    print(f"Training on {place.detail}: {place.links[0][1]}", file=sys.stderr)
    return run if job.detach else follow(run_dir, bar)


def follow(run_dir: Path, bar: TrainingBar) -> Run:
    """Shows a run that is trained elsewhere until it ends.

    Raises:
        RunError: it is trained on this machine, or it failed.
        typer.Exit: it was stopped, or the user detached by Ctrl+C, which leaves the job running.
    """
    from altub.runs.launchers.base import find_launcher
    from altub.runs.run import Run

    run = Run.open(run_dir)
    launcher = find_launcher(run)
    follower = launcher.follower(run)
    if follower is None:
        raise RunError(f"Run {run.id} is trained on this machine: its command or the page shows it.")
    quoted = shlex.quote(str(run_dir))
    try:
        with bar:
            _watch(run, follower, bar)
    except KeyboardInterrupt:
        print(
            f"Detached; the training continues: {launcher.place(run).links[0][1]}\n"
            f"Follow it again: python -m altub follow {quoted}\nStop it: python -m altub stop {quoted}",
            file=sys.stderr,
        )
        raise typer.Exit(STOPPED) from None
    status = run.read_status()
    if status.state == "failed":
        raise RunError(status.message)
    if status.state == "stopped":
        command = f"python -m altub train --run-dir {quoted} --resume --on {HF_JOBS}"
        print(f"{status.message} Resume: {command}", file=sys.stderr)
        raise typer.Exit(STOPPED)
    return run


def _watch(run: Run, follower: Follower, bar: TrainingBar) -> None:
    from altub.settings import follow_seconds
    from altub.training.loop import TrainingEvent

    shown, said = 0, ""
    while True:
        status = follower.look()
        for record in run.events():
            if record.epoch > shown:
                shown = record.epoch
                bar.update(TrainingEvent("epoch", status, record))
        bar.update(TrainingEvent("progress", status))
        if follower.is_over:
            return
        if status.message and status.message != said and not bar.quiet:  # such as a Hub that cannot be reached
            bar.console.print(f"Note: {status.message}")
        said = status.message
        time.sleep(follow_seconds())


def _create(run_dir: Path, preset: str | None, settings: dict[str, Any]) -> Run:
    from altub.cli.settings import configure, open_or_create
    from altub.runs.run import Run
    from altub.settings import data_root

    if settings.get("data") != MVTEC:
        return open_or_create(run_dir, preset, settings, resume=False)
    # Need not be on this machine: here it is only looked at, if it is there.
    return Run.create(run_dir, configure(preset, {**settings, "data": str(data_root() / "mvtec")}))


def _report(fraction: float | None, text: str) -> None:
    if sys.stderr.isatty():
        print(f"{text} ...", file=sys.stderr)
