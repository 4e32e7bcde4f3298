"""The command `train`: a few flags, and any setting by `--set key=value`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from altub.cli import remote
from altub.cli.options import STOPPED, Json, Quiet, flag
from altub.cli.results import report
from altub.cli.signals import StopOnSignals
from altub.errors import ConfigError
from altub.settings import torchrun_place
from altub.training.config import PRESETS
from altub.training.fields import all_settings, find_setting, parse_pairs
from altub.training.schedule import FORMER_VARIANTS, VARIANTS, current_variant

if TYPE_CHECKING:
    from altub.cli.progress import TrainingBar
    from altub.runs.run import Run

__all__ = ["register"]

# Settings with a flag of their own.
FLAGS = (
    "--data",
    "--category",
    "--backbone",
    "--flow",
    "--epochs",
    "--image-size",
    "--tile",
    "--overlap",
    "--base-update",
    "--seed",
    "--device",
)
# Earlier flags that were not called as their setting is.
FORMER_FLAGS = {
    "--base-lr": "base.lr",
    "--on-top": "base.on_top=true",
    "--in-place": "base.on_top=false",
    "--joint": "base.joint=true",
    "--strict": "base.joint=false",
}


class _TrainCommand(TyperCommand):
    """Says which --set to use where a setting is given as a flag."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for index, argument in enumerate(args):
            option, sign, value = argument.partition("=")
            if option == "--reading":
                raise ConfigError(
                    f"There is no flag --reading: use --base-update with one of {', '.join(VARIANTS)} (earlier "
                    f"{', '.join(FORMER_VARIANTS)})."
                )
            pair = _pair_for(option)
            if pair and "=" not in pair:
                following = args[index + 1] if index + 1 < len(args) else "--"
                pair += "=" + (value if sign else "VALUE" if following.startswith("--") else following)
            if pair:
                raise ConfigError(f"There is no flag {option}: use --set {pair}.")
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command(cls=_TrainCommand)(train)


def train(
    run_dir: Annotated[Path, typer.Option(help="Where the run lives; must be new, or given with --resume.")],
    data: Annotated[str | None, flag("data")] = None,
    category: Annotated[str | None, flag("category", more="See `categories`.")] = None,
    preset: Annotated[str | None, typer.Option(help=f"Starting point: {', '.join(PRESETS)}.")] = None,
    backbone: Annotated[str | None, flag("backbone")] = None,
    flow: Annotated[str | None, flag("flow.kind")] = None,
    epochs: Annotated[int | None, flag("epochs")] = None,
    image_size: Annotated[int | None, flag("image_size")] = None,
    tile: Annotated[int | None, flag("tile")] = None,
    overlap: Annotated[int | None, flag("overlap")] = None,
    base_update: Annotated[
        str | None, flag("base.base_update", more=f"Or a published variant: {', '.join(VARIANTS)}.")
    ] = None,
    seed: Annotated[int | None, flag("seed")] = None,
    device: Annotated[str | None, flag("device")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE for any setting, such as flow.norm=layer; `altub settings` lists them."),
    ] = None,
    region: Annotated[
        list[Path] | None,
        typer.Option("--region", metavar="FILE.json", help="Regions to inspect or to ignore; see docs/data.md."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --run-dir.")] = False,
    on: remote.On = None,
    flavor: remote.Flavor = None,
    mirror: remote.MirrorRepo = None,
    timeout: remote.Timeout = None,
    upload_data: remote.UploadData = False,
    accept_licence: remote.AcceptLicence = False,
    detach: remote.Detach = False,
    queue: Annotated[bool, typer.Option("--queue", help="Wait until other trainings of the folder end.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Trains a detector on good images and evaluates it on the test set after every epoch.

    What is not given comes from the preset, or else has the default shown. --set counts more than the flags.
    """
    from altub.cli.progress import TrainingBar
    from altub.cli.settings import open_or_create

    chosen: dict[str, Any] = {
        "data": data,
        "category": category,
        "backbone": backbone,
        "epochs": epochs,
        "image_size": image_size,
        "tile": tile,
        "overlap": overlap,
        "seed": seed,
        "device": device,
        "flow": None if flow is None else {"kind": flow},
        "base": None if base_update is None else _base_settings(base_update),
    }
    chosen = {key: value for key, value in chosen.items() if value is not None}
    for key, value in parse_pairs(settings or ()).items():
        chosen[key] = {**chosen.get(key, {}), **value} if isinstance(value, dict) else value
    if region:
        from altub.inference.regions import read_regions

        chosen["regions"] = tuple(one for file in region for one in read_regions(file))
    if chosen.get("data", "") not in ("", "sample", remote.MVTEC):  # "" is left to be refused
        # Absolute, because a run may be resumed from another working directory.
        chosen["data"] = str(Path(chosen["data"]).expanduser().resolve())
    bar = TrainingBar(quiet=quiet)
    job = remote.JobOptions(on, flavor, mirror, timeout, upload_data, accept_licence, detach)
    if remote.is_meant(run_dir, job):
        run = remote.train(run_dir, preset, chosen, resume, job, bar)
        if not detach:
            report(run, bar, as_json, quiet)
        return
    if torchrun_place()[1] > 1:
        run = _train_along(run_dir, preset, chosen, resume, bar)
        if run is not None:
            report(run, bar, as_json, quiet)
        return
    with StopOnSignals() as stopping:
        run = open_or_create(run_dir, preset, chosen, resume)
        if not _is_done(run):
            with bar:  # from here on: importing torch alone takes seconds
                _train(run, bar, stopping, queue)
    status = run.read_status()
    if status.state == "stopped":
        command = f"python -m altub train --run-dir {shlex.quote(str(run_dir))} --resume"
        print(f"{status.message} Resume: {command}", file=sys.stderr)
        raise typer.Exit(STOPPED)
    report(run, bar, as_json, quiet)


def _train_along(
    run_dir: Path, preset: str | None, chosen: dict[str, Any], resume: bool, bar: TrainingBar
) -> Run | None:
    """Trains as one of the processes that `torchrun` started; the first one makes the run, shows it and gives it."""
    from altub.cli.settings import open_or_create
    from altub.device import keep_freed_memory
    from altub.runs.run import Run
    from altub.training.distributed import join_group
    from altub.training.loop import train as train_run

    keep_freed_memory()
    with StopOnSignals() as stopping, join_group(chosen.get("device", "auto")) as group:
        if not group.is_main:
            group.wait()
            for _ in train_run(Run.open(run_dir), group=group):
                pass
            return None
        run = open_or_create(run_dir, preset, chosen, resume)
        run.clear_stop()
        group.wait()
        with bar:
            for event in train_run(run, should_stop=stopping.asked, group=group):
                bar.update(event)
    if run.read_status().state == "stopped":
        raise typer.Exit(STOPPED)
    return run


def _base_settings(update: str) -> dict[str, Any]:
    """The settings of the base that "moments", or the name of a variant, stands for."""
    name = current_variant(update)
    if name in VARIANTS:
        return dict(VARIANTS[name])
    known = find_setting("base.base_update").choices
    if name not in known:
        raise ConfigError(f"There is no base update {update!r}: choose {', '.join([*known, *VARIANTS])}.")
    return {"base_update": name}


def _pair_for(option: str) -> str:
    """What --set takes in place of a setting that was typed as a flag ("flow.norm"); empty for everything else."""
    if option in FLAGS or not option.startswith("--"):
        return ""
    word = option[2:].replace("-", "_")
    names = [entry.name for entry in all_settings()]
    return FORMER_FLAGS.get(option) or next((name for name in names if word == name.rpartition(".")[2]), "")


def _is_done(run: Run) -> bool:
    """Has the run trained all its epochs? Resuming it is then no work and cannot fail."""
    status = run.status
    return status.state == "finished" and status.epoch >= run.config.epochs


def _train(run: Run, bar: TrainingBar, stopping: StopOnSignals, queue: bool) -> None:
    from altub.device import keep_freed_memory
    from altub.runs import queue as jobs
    from altub.runs.time_limit import TimeLimit
    from altub.training.loop import train as train_run

    keep_freed_memory()

    if not queue:
        run.clear_stop()  # of an earlier training: whoever types the command wants to train
    elif run.stop_requested():  # while this process started
        stopping.stop()
    limit = TimeLimit(run, active=queue)  # only what the page starts is queued
    for event in train_run(
        run,
        should_stop=lambda: stopping.asked() or limit.is_over(),
        wait=lambda waiting: not queue or jobs.wait_for_turn(waiting, stopping.asked),
    ):
        limit.update(event.status)
        bar.update(event)
    limit.explain()
