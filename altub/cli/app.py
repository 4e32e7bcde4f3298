"""The command line: `python -m altub --help` lists its commands; `python -m altub COMMAND --help` explains one.

Exit codes: 0 done, 2 bad input (one sentence on stderr), 130 stopped.
"""

from __future__ import annotations

import json
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from altub.cli import hub as cli_hub
from altub.cli import remote as cli_remote
from altub.cli.deploy import deploy
from altub.cli.options import DATA_HELP, Data, Json, Model
from altub.cli.study import study
from altub.errors import AltUBError, ConfigError, DataError
from altub.inference.threshold import DEFAULT_FALSE_ALARM_RATE
from altub.threads import wait_passively

if TYPE_CHECKING:
    from altub.cli.progress import TrainingBar
    from altub.runs.run import Run
    from altub.training.records import EpochRecord

__all__ = ["app", "main"]

BAD_INPUT, STOPPED = 2, 130

app = typer.Typer(
    name="altub",
    help="Finds defects in pictures of parts: FastFlow or CFLOW-AD on good parts only, on AltUB's learnable base.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Runs the command line; problems that a user can mend become one sentence and exit code 2."""
    wait_passively()
    try:
        app()
    except AltUBError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(STOPPED)


@app.command()
def categories(data: Data = "sample") -> None:
    """One category a line; on a terminal with how many images there are."""
    from altub.data import list_categories

    for category in list_categories(data):
        if _on_terminal():
            counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in category.counts().items())
            print(f"{category.name:<16} {counts}")
        else:
            print(category.name)


@app.command()
def download(
    category: Annotated[str, typer.Argument(help="An MVTec AD category, or 'all'.")] = "all",
    data: Annotated[Path | None, typer.Option(help="Where to put it; default: <data root>/mvtec.")] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You accept CC BY-NC-SA 4.0: no commercial use.")
    ] = False,
) -> None:
    """Fetches MVTec AD; an interrupted download goes on where it was."""
    from altub.cli.progress import DownloadBar
    from altub.data.download import download_mvtec
    from altub.settings import data_root

    with DownloadBar() as bar:
        folder = download_mvtec(
            category, data or data_root() / "mvtec", accept_licence=accept_licence, progress=bar.update
        )
    print(folder)


@app.command()
def train(
    run_dir: Annotated[Path, typer.Option(help="Where the run lives; must be new, or given with --resume.")],
    data: Annotated[str | None, typer.Option(help=DATA_HELP, show_default="sample")] = None,
    category: Annotated[str | None, typer.Option(help="Category to train; see `categories`.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Starting point: quick-look, fastflow- or cflow- with resnet18 or wrn50, fastflow-deit or -cait."
        ),
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="timm name, filter-bank, or auto.", show_default="auto")] = None,
    stages: Annotated[str | None, typer.Option(help="Backbone stages, such as 1,2,3.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side in pixels.", show_default="256")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs in all.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.", show_default="32")] = None,
    lr: Annotated[float | None, typer.Option(help="Adam's learning rate for the flow.")] = None,
    lr_schedule: Annotated[str | None, typer.Option(help="constant or cosine.")] = None,
    lr_warmup: Annotated[int | None, typer.Option(help="Epochs in which the rate rises.", show_default="0")] = None,
    reading: Annotated[str | None, typer.Option(help="A published reading of the alternation: A, B or C.")] = None,
    base_update: Annotated[str | None, typer.Option(help="gradient, moments or off.")] = None,
    interval: Annotated[int | None, typer.Option(help="Every how many units the base has its turn.")] = None,
    interval_unit: Annotated[str | None, typer.Option(help="epoch or step.")] = None,
    warmup: Annotated[int | None, typer.Option(help="Units before the base moves at all.")] = None,
    on_top: Annotated[
        bool | None, typer.Option("--on-top/--in-place", help="Does the base's turn follow the flow's, or replace it?")
    ] = None,
    joint: Annotated[
        bool | None, typer.Option("--joint/--strict", help="Does the base train in the flow's turn?")
    ] = None,
    base_lr: Annotated[float | None, typer.Option(help="Learning rate of the base's turn.")] = None,
    norm: Annotated[str | None, typer.Option(help="layer, layer-affine, channel or none.")] = None,
    flow: Annotated[str | None, typer.Option(help="fastflow or cflow.", show_default="fastflow")] = None,
    kernels: Annotated[str | None, typer.Option(help="FastFlow: 3x3 or 3x3/1x1.")] = None,
    permutation: Annotated[str | None, typer.Option(help="CFLOW: hard or soft.", show_default="hard")] = None,
    loss: Annotated[str | None, typer.Option(help="CFLOW: nll or logsigmoid.", show_default="nll")] = None,
    fibres: Annotated[int | None, typer.Option(help="CFLOW: positions an update.", show_default="1024")] = None,
    map_kind: Annotated[str | None, typer.Option(help="likelihood or nll.")] = None,
    smoothing: Annotated[float | None, typer.Option(help="Gaussian smoothing of the map, sigma in pixels.")] = None,
    score_share: Annotated[
        float | None, typer.Option(help="Share of the highest pixels whose mean is the score; 0 = the maximum.")
    ] = None,
    augment: Annotated[str | None, typer.Option(help="Any of hflip,vflip,rot90; features are then not cached.")] = None,
    held_out: Annotated[
        float | None, typer.Option(help="Share of good images held out for the threshold.", show_default="0.1")
    ] = None,
    evaluate_every: Annotated[
        int | None, typer.Option(help="Epochs between evaluations on the test set.", show_default="1")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Everything random comes from it.", show_default="0")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.", show_default="auto")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.", show_default="auto")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --run-dir.")] = False,
    on: cli_remote.On = None,
    flavor: cli_remote.Flavor = None,
    mirror: cli_remote.MirrorRepo = None,
    timeout: cli_remote.Timeout = None,
    upload_data: cli_remote.UploadData = False,
    accept_licence: cli_remote.AcceptLicence = False,
    detach: cli_remote.Detach = False,
    queue: Annotated[bool, typer.Option("--queue", help="Wait until other trainings of the same folder end.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    as_json: Json = False,
) -> None:
    """Trains a detector on good images and evaluates it on the test set after every epoch.

    What is not given comes from the preset, or else has the default shown.
    """
    from altub.cli.progress import TrainingBar
    from altub.cli.settings import given, open_or_create
    from altub.training.config import parse_stages
    from altub.training.schedule import READINGS

    if reading is not None and reading not in READINGS:
        raise ConfigError(f"There is no reading {reading!r} of the alternation: choose {', '.join(READINGS)}.")
    schedule = {"base_update": base_update, "interval": interval, "interval_unit": interval_unit}
    schedule |= {"on_top": on_top, "warmup": warmup, "joint": joint, "lr": base_lr}
    schedule = {**READINGS.get(reading, {}), **given(schedule)}
    settings = {
        # Absolute, because a run may be resumed from another working directory; "" is left to be refused.
        "data": str(Path(data).expanduser().resolve()) if data not in (None, "", "sample", cli_remote.MVTEC) else data,
        "category": category,
        "backbone": backbone,
        "stages": parse_stages(stages),
        "image_size": image_size,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "lr_schedule": lr_schedule,
        "lr_warmup": lr_warmup,
        "base": schedule or None,
        "flow": given(
            {
                "kind": flow,
                "norm": norm,
                "kernels": kernels,
                "permutation": permutation,
                "loss": loss,
                "fibres": fibres,
            }
        )
        or None,
        "map_kind": map_kind,
        "smoothing": smoothing,
        "score_share": score_share,
        "augment": tuple(filter(None, augment.split(","))) if augment is not None else None,
        "held_out": held_out,
        "evaluate_every": evaluate_every,
        "seed": seed,
        "device": device,
        "precision": precision,
    }
    bar = TrainingBar(quiet=quiet)
    job = cli_remote.JobOptions(on, flavor, mirror, timeout, upload_data, accept_licence, detach)
    if cli_remote.is_meant(run_dir, job):
        run = cli_remote.train(run_dir, preset, given(settings), resume, job, bar)
        if detach:
            return
        _report(run, bar, as_json, quiet)
        return
    with _StopOnSignal() as stopping:
        run = open_or_create(run_dir, preset, given(settings), resume)
        if not _is_done(run):
            with bar:  # from here on: importing torch alone takes seconds
                _train(run, bar, stopping, queue)
    status = run.read_status()
    if status.state == "stopped":
        command = f"python -m altub train --run-dir {shlex.quote(str(run_dir))} --resume"
        print(f"{status.message} Go on with: {command}", file=sys.stderr)
        raise typer.Exit(STOPPED)
    _report(run, bar, as_json, quiet)


def _report(run: Run, bar: TrainingBar, as_json: bool, quiet: bool) -> None:
    """What a training came to, on stdout."""
    status = run.read_status()
    last, best = run.last_and_best()
    if as_json:
        result = {"last": _metrics(last), "best": {**_metrics(best), "epoch": best and best.epoch}}
        result |= {"epochs": status.epoch, "seconds": round(status.seconds, 1), "run_dir": str(run.path)}
        print(json.dumps(result))
    elif not quiet:
        bar.summary(last, best, run)


@app.command()
def evaluate(
    model: Model,
    category: Annotated[str, typer.Option(help="Category whose test set is used.")],
    data: Data = "sample",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    as_json: Json = False,
) -> None:
    """Metrics of a trained model on a test set."""
    from altub.data import load_category
    from altub.evaluation.evaluate import evaluate_detector
    from altub.inference.detector import AnomalyDetector

    chosen = load_category(data, category)
    if not chosen.test:
        raise DataError(f"Category {category} has no test images, so there is nothing to evaluate on.")
    metrics = evaluate_detector(AnomalyDetector.load(model, device), chosen).as_dict()
    if as_json:
        print(json.dumps(metrics))
    else:
        for name, value in metrics.items():
            print(f"{name:<14} {'-' if value is None else f'{value:.4f}'}")


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of them.")],
    model: Model,
    output: Annotated[Path, typer.Option(help="Folder for overlays, maps, masks and predictions.csv.")],
    false_alarm_rate: Annotated[
        float, typer.Option(help="Share of good images that may be called defective.")
    ] = DEFAULT_FALSE_ALARM_RATE,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    as_json: Json = False,
) -> None:
    """Heatmaps, masks and verdicts for images."""
    from altub.cli.progress import CountBar
    from altub.inference.detector import AnomalyDetector
    from altub.inference.exports import collect_images, predict_to_folder

    existing = next(path for path in (output, *output.parents) if path.exists())
    if not existing.is_dir():
        raise DataError(f"{existing} is a file, not a folder: give another --output.")
    found = collect_images(images, skip=output)
    detector = AnomalyDetector.load(model, device)
    threshold = detector.require_calibration().threshold(false_alarm_rate)
    if threshold.warning:
        print(f"Note: {threshold.warning}", file=sys.stderr)
    with CountBar("images") as bar:
        rows = predict_to_folder(detector, found, output, threshold=threshold, progress=bar.update)
    failed = [row for row in rows if row["error"]]
    for row in failed:
        print(f"Not an image to predict: {row['error']}", file=sys.stderr)
    if as_json:
        for row in rows:
            print(json.dumps(row))
    else:
        defective = sum(bool(row["is_anomalous"]) for row in rows)
        print(f"{len(rows) - len(failed)} images, {defective} defective: {output / 'predictions.csv'}")
    if len(failed) == len(rows):
        raise typer.Exit(BAD_INPUT)


@app.command()
def runs(as_json: Json = False) -> None:
    """The runs under the runs folder (ALTUB_RUNS), newest first."""
    from altub.runs.run import list_runs
    from altub.settings import runs_root

    found = list_runs()
    if not found:
        print(f"There are no runs in {runs_root()} (the folder of ALTUB_RUNS).", file=sys.stderr)
    for run in found:
        status = run.status
        last, _ = run.last_and_best()
        if as_json:
            print(json.dumps({"run": run.id, "state": status.state, "epoch": status.epoch, "last": _metrics(last)}))
        else:
            auroc = last and last.value("pixel_auroc")
            shown = "" if auroc is None else f"pixel AUROC {auroc:.4f}"
            print(f"{run.id:<48} {status.state:<12} epoch {status.epoch}/{status.epochs}  {shown}")


@app.command()
def stop(run_dir: Annotated[Path, typer.Argument(help="The run's directory.")]) -> None:
    """Asks a training to stop; it saves its state first. One on Hugging Face Jobs is cancelled."""
    from altub.runs import queue as jobs
    from altub.runs.run import Run

    run = Run.open(run_dir)
    jobs.stop(run)
    if run.is_remote:
        print(f"Cancelled the job of {run_dir}; go on with it by --resume.", file=sys.stderr)
        return
    print(f"Asked the training in {run_dir} to stop; go on with it by --resume.", file=sys.stderr)


@app.command()
def bench(
    repeats: Annotated[int, typer.Option(help="Measurements of which the median is taken.")] = 7,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    as_json: Json = False,
) -> None:
    """Our coupling step and training epoch beside FrEIA's block and the published loop, at equal mathematics."""
    from altub.evaluation.bench import run_bench

    run_bench(repeats=repeats, threads=threads, as_json=as_json)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def ui(context: typer.Context) -> None:
    """The web page; the same as `python app.py`, with the same options."""
    from altub.ui.app import run as start_page

    raise typer.Exit(start_page(context.args))


app.command()(study)


app.command()(deploy)


cli_hub.register(app)


@app.command()
def follow(
    run_dir: Annotated[Path, typer.Argument(help="The run's directory.")],
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    as_json: Json = False,
) -> None:
    """Follows a training on Hugging Face Jobs until it ends; Ctrl+C detaches and leaves it to go on."""
    from altub.cli.progress import TrainingBar

    bar = TrainingBar(quiet=quiet)
    _report(cli_remote.follow(run_dir, bar), bar, as_json, quiet)


class _StopOnSignal:
    """The first Ctrl+C or SIGTERM stops after the step at hand; the second one ends the process at once."""

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _StopOnSignal:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def asked(self) -> bool:
        return self._asked

    def stop(self) -> None:
        self._asked = True

    def _note(self, number: int, frame: Any) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True


def _on_terminal() -> bool:
    return sys.stdout.isatty()


def _is_done(run: Run) -> bool:
    """Has the run trained all its epochs? Going on with it is then no work and cannot fail."""
    status = run.status
    return status.state == "finished" and status.epoch >= run.config.epochs


def _train(run: Run, bar: TrainingBar, stopping: _StopOnSignal, queue: bool) -> None:
    from altub.deploy.server.limits import TimeLimit
    from altub.device import keep_freed_memory
    from altub.runs import queue as jobs
    from altub.training.loop import train as train_run

    keep_freed_memory()

    if not queue:
        run.clear_stop()  # of an earlier training: whoever types the command wants it to go on
    elif run.stop_requested():  # while this process was being started
        stopping.stop()
    limit = TimeLimit(run, active=queue)  # only what the page starts is queued
    for event in train_run(
        run,
        should_stop=lambda: stopping.asked() or limit.is_over(),
        wait=lambda waiting: not queue or jobs.wait_for_turn(waiting, stopping.asked),
    ):
        limit.see(event.status)
        bar.update(event)
    limit.explain()


def _metrics(record: EpochRecord | None) -> dict[str, float | None]:
    from altub.metrics import Metrics

    return ((record and record.test) or Metrics()).as_dict()
