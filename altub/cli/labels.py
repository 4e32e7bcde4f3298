"""The commands `labels ...`: images and labels in and out of the label store, what they say, and its safety."""

from __future__ import annotations

import getpass
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from altub.cli.options import BAD_INPUT, Device, Json, Model
from altub.errors import ConfigError, DataError, LabelError

if TYPE_CHECKING:
    from altub.data import Sample
    from altub.inference.threshold import Threshold
    from altub.labels.sample import LabelSample
    from altub.labels.store import LabelStore

__all__ = ["register"]

labels = typer.Typer(help="Images, labels and what they say; the label store is ALTUB_DB.", no_args_is_help=True)

UNKNOWN = "not known: leave out images that the model was trained on"
Source = Annotated[str | None, typer.Option(help="Only images from there.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.add_typer(labels, name="labels")


@labels.command()
def add(
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of them.")],
    source: Annotated[str, typer.Option(help="Where they come from, such as a line or a category.")] = "",
    inclusion: Annotated[
        float, typer.Option(help="Share of such images that you keep: 0.1 for every tenth good part.")
    ] = 1.0,
) -> None:
    """Adds images; those that are there already stay as they are."""
    from altub.cli.progress import CountBar
    from altub.inference.exports import collect_images
    from altub.labels import LabelStore

    found, store, failed = collect_images(images), LabelStore(), 0
    before = len(store.images)
    with CountBar("images") as bar:
        for done, path in enumerate(found, start=1):
            try:
                store.images.add(path, source=source, inclusion=inclusion)
            except DataError as error:
                failed += 1
                print(f"Skipped: {error}", file=sys.stderr)
            bar.update(done, len(found))
    added = len(store.images) - before
    print(f"{added} images added, {len(found) - added - failed} there already: {store.path}")
    if failed == len(found):
        raise typer.Exit(BAD_INPUT)


@labels.command()
def score(model: Model, source: Source = None, device: Device = "auto") -> None:
    """Keeps what a model says of every image: score, p-value and map."""
    from altub.cli.progress import CountBar
    from altub.inference.detector import AnomalyDetector
    from altub.labels import LabelStore, score_images

    detector, store = AnomalyDetector.load(model, device), LabelStore()
    with CountBar("images") as bar:
        done = score_images(store, detector, _model_sha256(model), source=source, progress=bar.update)
    for error in done.errors.values():
        print(f"Skipped: {error}", file=sys.stderr)
    print(f"{done.images} images scored.")


@labels.command()
def export(
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help="mvtec, coco, csv, jsonl or imagefolder.")],
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    source: Source = None,
    add_good: Annotated[
        str | None,
        typer.Option(metavar="DATA/CATEGORY", help="mvtec alone: with the good images of this data set, to train on."),
    ] = None,
    learn: Annotated[
        float, typer.Option(help="With --add-good: share of the defects with masks to learn from, not to test on.")
    ] = 0.0,
) -> None:
    """Writes all labelled images with their labels to a folder."""
    from altub.cli.progress import CountBar
    from altub.labels import LabelStore, export_labels, write_training_set

    if add_good is not None:
        if kind != "mvtec":
            raise ConfigError("--add-good makes a set to train on, which is of the format mvtec.")
        good = _good_images(add_good)
        with CountBar("images") as bar:
            _, notes = write_training_set(
                LabelStore(), source=source, good=good, learned=learn, folder=folder, progress=bar.update
            )
        for note in notes:
            print(f"Note: {note}", file=sys.stderr)
        print(f"python -m altub train --data {folder} --category {folder.resolve().name}")
        return
    if learn:
        raise ConfigError("--learn makes a set to train on: give --add-good with it.")
    with CountBar("images") as bar:
        done = export_labels(LabelStore(), folder, kind, source=source, progress=bar.update)
    for note in done.notes:
        print(f"Note: {note}", file=sys.stderr)
    print(f"{done.images} labelled images: {folder}")


@labels.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="A folder of one of the formats of `export`.")],
    kind: Annotated[str | None, typer.Option("--format", help="Its format; default: the one that it has.")] = None,
    who: Annotated[str | None, typer.Option(help="Whose labels they are, where the folder does not tell.")] = None,
    source: Annotated[str | None, typer.Option(help="Where the images come from.")] = None,
) -> None:
    """Adds the images and labels of a folder."""
    from altub.labels import LabelStore, import_labels

    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: give the folder of an export.")
    done = import_labels(LabelStore(), folder, who or _user(), kind, source=source)
    print(f"{done.added} images and {done.labelled} labels added, {done.same} labels were there already.")


@labels.command()
def stats(
    model: Annotated[Path | None, typer.Option(help="A model whose scores `score` has kept.")] = None,
    source: Source = None,
    recall: Annotated[float | None, typer.Option(help="Threshold that promises a recall of at least this.")] = None,
    false_alarm_rate: Annotated[
        float | None, typer.Option(help="Threshold that promises a false-alarm rate of at most this.")
    ] = None,
    cost_ratio: Annotated[
        float | None, typer.Option(help="Threshold of the least cost; a missed defect costs so many false alarms.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Of the promise.")] = 0.9,
    use: Annotated[
        bool, typer.Option("--use", help="Make the one threshold asked for the model's own, as a new version.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Counts; with a model also what its scores are worth on the labels, and thresholds from them."""
    from altub.labels import LabelStore

    store = LabelStore()
    values = _counts(store)
    wishes = (recall, false_alarm_rate, cost_ratio)
    if use and (model is None or sum(wish is not None for wish in wishes) != 1):
        raise ConfigError("--use takes --model and one of --recall, --false-alarm-rate and --cost-ratio.")
    if model is not None:
        values |= _model_values(store, model, source, wishes, confidence, use=use)
    elif any(wish is not None for wish in wishes):
        raise ConfigError("A threshold is one of a model's scores: give --model.")
    _show(values, as_json)


@labels.command()
def calibrate(
    model: Model,
    source: Source = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would change.")] = False,
    as_json: Json = False,
) -> None:
    """Lets good labels of images that were drawn at random join a model's calibration, as a new version of it."""
    from altub.labels import LabelStore, extend_calibration, read_extension

    store, version = LabelStore(), None
    if dry_run:
        found = read_extension(model, store, source)
    else:
        found, version = extend_calibration(model, store, source, author=_user())
    if not found.knows_training:
        print(f"Note: trained on: {UNKNOWN}.", file=sys.stderr)
    if found.unscored:
        print(f"Note: {found.unscored} good labels have no score yet: altub labels score.", file=sys.stderr)
    before, after = found.thresholds
    p_value_before, p_value = found.smallest_p_values
    values: dict[str, Any] = {
        "held_out": found.n_held_out,
        "joined": found.n_joined,
        "joined_before": found.n_before,
        "good_labels": found.good_labels,
        "smallest_p_value_before": p_value_before,
        "smallest_p_value": p_value,
        "threshold_before": before.value,
        "threshold": after.value,
        "promise": after.origin.promise,
        "version": "none, nothing was saved" if version is None else f"{version.number}, in use",
    }
    _show(values, as_json)


@labels.command()
def backup(file: Annotated[Path, typer.Argument(help="The archive (zip) to write.")]) -> None:
    """Writes the whole store to one file, while others may go on labelling."""
    from altub.cli.progress import CountBar
    from altub.labels import LabelStore, back_up

    store = LabelStore()
    with CountBar("files") as bar:
        back_up(store, file, progress=bar.update)
    print(f"{len(store.images)} images and {store.labels.counts()['events']} events: {file}")


@labels.command()
def check() -> None:
    """Reads the whole store: is everything there and undamaged?"""
    from altub.cli.progress import CountBar
    from altub.labels import LabelStore
    from altub.labels import check as check_store

    store = LabelStore()
    with CountBar("files") as bar:
        found = check_store(store, progress=bar.update)
    for problem in found.problems:
        print(problem, file=sys.stderr)
    unused = f", {found.unused} unused" if found.unused else ""
    print(f"{len(found.problems)} problems in {found.files} files{unused}: {store.path}")
    if found.problems:
        raise typer.Exit(BAD_INPUT)


def _counts(store: LabelStore) -> dict[str, Any]:
    counts, sources = store.labels.counts(), store.images.sources()
    labelled = sum(counts[name] for name in ("good", "defect", "unsure"))
    values: dict[str, Any] = {"images": len(store.images), "unlabelled": len(store.images) - labelled, **counts}
    values |= {"defect_types": store.labels.defect_types(), "people": store.labels.people()}
    return values | {"disputed": len(store.labels.disputed()), "sources": sources}


def _model_values(
    store: LabelStore,
    model: Path,
    source: str | None,
    wishes: tuple[float | None, ...],
    confidence: float,
    *,
    use: bool,
) -> dict[str, Any]:
    from altub.inference.versions import save_threshold
    from altub.labels import confusion, label_curves, read_sample, training_images

    seen = training_images(model)
    sample = read_sample(store, _model_sha256(model), source, exclude=seen.trained if seen else ())
    values: dict[str, Any] = {"scored": sample.scored, "unscored": sample.unscored}
    values["trained_on"] = sample.excluded if seen else UNKNOWN
    values["random_labels"] = len(sample.evidence.images)
    if sample.is_defective.any() and not sample.is_defective.all():
        curves = label_curves(sample)
        values |= {"auroc": curves.auroc, "average_precision": curves.average_precision}
    for name, threshold in _thresholds(sample, model, wishes, confidence).items():
        if isinstance(threshold, str):
            if use:
                raise LabelError(threshold)
            values[name] = threshold
        else:
            found = confusion(sample, threshold.value)
            counts = {"missed": len(found.missed), "false_alarms": len(found.false_alarms)}
            values[name] = {"value": threshold.value, "promise": threshold.origin.promise, **counts}
            if use:
                version = save_threshold(model, threshold, threshold.origin.promise, author=_user())
                values["version"] = f"{version.number}, in use"
    return values


def _thresholds(
    sample: LabelSample, model: Path, wishes: tuple[float | None, ...], confidence: float
) -> dict[str, Threshold | str]:
    """By name of the wish: the threshold, or why there is none."""
    from altub.inference.detector import AnomalyDetector
    from altub.labels import cheapest_threshold, promised_threshold

    if all(wish is None for wish in wishes):
        return {}
    pixel_value = AnomalyDetector.load(model, "cpu").threshold.pixel_value
    recall, false_alarm_rate, cost_ratio = wishes
    found: dict[str, Threshold | str] = {}
    for target, level in (("recall", recall), ("false-alarm-rate", false_alarm_rate)):
        if level is not None:
            name = f"threshold_by_{target.replace('-', '_')}"
            try:
                found[name] = promised_threshold(
                    sample.evidence, target, level, confidence=confidence, pixel_value=pixel_value
                )
            except LabelError as error:  # no promise is possible: an answer too
                found[name] = str(error)
    if cost_ratio is not None:
        found["threshold_by_cost"] = cheapest_threshold(sample, cost_ratio, pixel_value=pixel_value)
    return found


def _model_sha256(model: Path) -> str:
    from altub.inference.model_files import read_config

    return read_config(model).weights_sha256


def _show(values: dict[str, Any], as_json: bool) -> None:
    """Prints one value a line, or all as JSON."""
    if as_json:
        print(json.dumps(values))
        return
    width = max(18, *map(len, values))
    for name, value in values.items():
        print(f"{name.replace('_', ' '):<{width}} {_shown(value)}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name or '-'}: {_shown(entry)}" for name, entry in value.items()) or "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _good_images(place: str) -> tuple[Sample, ...]:
    """The good images to train on of DATA/CATEGORY."""
    from altub.data import load_category

    data, slash, category = place.rstrip("/").rpartition("/")
    if not slash:
        raise ConfigError(f"{place} names no category: give DATA/CATEGORY, such as sample/fabric or data/mvtec/bottle.")
    return load_category(data, category).train


def _user() -> str:
    """The name of the account; a container may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
