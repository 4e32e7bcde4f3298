"""The commands `watch` and `inspections`: images are inspected as they arrive in a folder, and what was inspected."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from altub.cli.options import Device, Json, Model
from altub.cli.signals import StopOnSignals
from altub.errors import ConfigError, DataError

__all__ = ["register"]

DAY = 86_400  # seconds


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command()(watch)
    app.command()(inspections)


def watch(
    folder: Annotated[Path, typer.Argument(help="Folder in which images arrive.")],
    model: Model,
    output: Annotated[Path, typer.Option(help="Folder for results; it keeps the journal.")],
    files: Annotated[
        str, typer.Option(help="What happens to inspected files: leave, or move or copy to a folder of the verdict.")
    ] = "leave",
    overlays: Annotated[bool, typer.Option(help="A picture with the heatmap for each image.")] = True,
    webhook: Annotated[
        str | None, typer.Option(help="Address that gets each result, signed by ALTUB_WEBHOOK_SECRET.")
    ] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(help="Broker and topic that get each result, HOST/TOPIC; login by ALTUB_MQTT_USER and _PASSWORD."),
    ] = None,
    drift_level: Annotated[float, typer.Option(help="Chance of a drift alarm on a line that does not change.")] = 0.01,
    log: Annotated[bool, typer.Option(help="Add to the inspection log in the label database.")] = True,
    once: Annotated[bool, typer.Option("--once", help="End when every file that is there has a result.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Inspects images as they arrive in a folder, each exactly once, until it is stopped (Ctrl+C)."""
    from altub import settings
    from altub.labels.inspections import InspectionLog
    from altub.line.filing import FILING
    from altub.line.watch import FolderWatch

    if files not in FILING:
        raise ConfigError(f"--files is {files!r}: choose {', '.join(FILING)}.")
    watcher = FolderWatch(
        folder,
        model,
        output,
        filing=files,
        overlays=overlays,
        log=InspectionLog() if log else None,
        webhook=(webhook, settings.webhook_secret()) if webhook else None,
        mqtt=(mqtt, *settings.mqtt_login()) if mqtt else None,
        device=device,
        drift_level=drift_level,
        tell=lambda sentence: print(sentence, file=sys.stderr),
    )
    with watcher, StopOnSignals() as signals:
        if not once:
            print(f"Watching {folder}; stop with Ctrl+C.", file=sys.stderr)
        done = watcher.run(once=once, should_stop=signals.asked)
    alarm = None if done.alarm is None else done.alarm.to_dict()
    if as_json:
        print(json.dumps({"verdicts": done.verdicts, "drift": alarm}))
    else:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(done.verdicts.items())) or "none"
        print(f"{done.files} files inspected: {counts}. Results: {output / 'results.csv'}")


def inspections(
    image: Annotated[Path | None, typer.Option(help="Only what was said of this image, by its content.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write them to this CSV file.")] = None,
    days: Annotated[float | None, typer.Option(min=0, help="Only the last so many days, with --export.")] = None,
    forget_after: Annotated[float | None, typer.Option(min=0, help="Delete what is older than so many days.")] = None,
    as_json: Json = False,
) -> None:
    """The inspection log: verdicts by day, the history of an image, export and retention."""
    from dataclasses import asdict

    from altub.labels.inspections import InspectionLog

    log = InspectionLog()
    if forget_after is not None:
        gone = log.forget(time.time() - DAY * forget_after)
        print(f"{gone} inspections deleted.", file=sys.stderr)
    if export is not None:
        since = 0.0 if days is None else time.time() - DAY * days
        print(f"{log.write_csv(export, since)} inspections: {export}")
        return
    if image is not None:
        if not image.is_file():
            raise DataError(f"{image} is no file: give an image.")
        with image.open("rb") as file:
            found = log.of_image(hashlib.file_digest(file, "sha256").hexdigest())
        if as_json:
            print(json.dumps([asdict(one) for one in found]))
            return
        for one in found:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.at))
            score = "-" if one.score is None else f"{one.score:.4g}"
            print(f"{stamp}  {one.verdict:<14} score {score}  model {one.model[:12]}  {one.name}")
        return
    counts = log.days()
    if as_json:
        print(json.dumps(counts))
        return
    for day, verdicts in counts.items():
        print(f"{day}  " + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()))
