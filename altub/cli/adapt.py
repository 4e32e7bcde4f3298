"""The command `adapt`: a model brought to today's good images."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from altub.cli.options import Device, Json, Model
from altub.errors import ConfigError
from altub.inference.model_files import CONFIG_FILE

if TYPE_CHECKING:
    from altub.data import Category
    from altub.inference.detector import AnomalyDetector
    from altub.line.adapt import Adaptation

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command()(adapt)


def adapt(
    model: Model,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the adapted model; default: a new version of the model itself.")
    ] = None,
    good: Annotated[Path | None, typer.Option(help="Folder of images of good parts as they look today.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="Instead: the images of this source that are labelled good, the newest first.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Largest number of images; the last ones by name.")] = 64,
    way: Annotated[
        str | None,
        typer.Option(
            help="What follows the images: base, norm-full, norm-full+base, norm-position, norm-channel, "
            "norm-channel+base, norm-position+base or flow; default: the best."
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Data whose test set is evaluated before and after.")] = None,
    category: Annotated[str | None, typer.Option(help="Its category.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also where the images do not look like good parts.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Adapts a model to how good parts look today, in seconds; --way flow trains the flow too, about a minute."""
    from altub.cli.progress import CountBar
    from altub.inference.detector import AnomalyDetector
    from altub.line.adapt import FLOW_TIME
    from altub.line.adapt import adapt as adapt_model

    if (good is None) == (labels is None):
        raise ConfigError("Say where the good images are: either --good FOLDER or --labels SOURCE.")
    if (data is None) != (category is None):
        raise ConfigError("A test set takes both --data and --category.")
    images = _from_folder(good, most, out) if good is not None else _from_labels(labels or "", most)
    test = _test_set(data, category)
    detector = AnomalyDetector.load(model, device)
    if way == "flow":
        print(f"Note: training the flow takes {FLOW_TIME}.", file=sys.stderr)
    with CountBar("passes") as bar:
        done = adapt_model(detector, images, way=way, refuse=not force, progress=bar.update)
    metrics = {"before": _measured(detector, test), "after": _measured(done.detector, test)} if test else None
    where = _save(done, model, out)
    if as_json:
        print(json.dumps({**done.report.to_dict(), "metrics": metrics, "model": where}))
        return
    for sentence in done.report.sentences():
        print(sentence)
    if metrics:
        from altub.metrics import METRICS

        for name, before in metrics["before"].items():
            print(
                f"{METRICS[name].label:<14} {before:.4f} before, {metrics['after'].get(name, float('nan')):.4f} after"
            )
    print(f"model: {where}")


def _save(done: Adaptation, model: Path, out: Path | None) -> str:
    """Writes the adapted model; returns where it is, in words."""
    from altub.inference.versions import save_version

    target = model if out is None else out
    if out is not None and out.resolve() != model.resolve() and not (out / CONFIG_FILE).exists():
        done.detector.save(out)
        return str(out)
    note = f"Adapted by {done.report.way} to {done.report.images} good images."
    version = save_version(target, done.detector, note, kind="adapted")
    return f"{target}, version {version.number}"


def _from_folder(folder: Path, most: int, out: Path | None) -> list[Path]:
    from altub.inference.exports import collect_images

    found = collect_images([folder], skip=out)
    if len(found) > most:
        print(f"Note: {len(found)} images; the last {most} by name are used (--most).", file=sys.stderr)
    return found[-most:]


def _from_labels(source: str, most: int) -> list[Path]:
    """The original files of the newest good labels."""
    from altub.labels import LabelStore

    store = LabelStore()
    good = [image for image, label in store.labels.all(source).items() if label.verdict == "good"]
    return [store.images.path(image) for image in good[-most:]]


def _test_set(data: str | None, category: str | None) -> Category | None:
    from altub.data import load_category

    return load_category(data, category) if data and category else None


def _measured(detector: AnomalyDetector, category: Category) -> dict[str, Any]:
    from altub.evaluation.evaluate import evaluate_detector

    return evaluate_detector(detector, category).measured()
