"""The command `export`: a trained model for programs without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from altub.cli.options import Json, Model
from altub.errors import ConfigError

if TYPE_CHECKING:
    from altub.data import ImageSource

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command()(export)


def export(
    model: Model,
    onnx: Annotated[Path, typer.Option(help="The ONNX file to write.")],
    data: Annotated[
        str | None,
        typer.Option(help="Data root of the training, for its held-out images: the file is calibrated on them."),
    ] = None,
    category: Annotated[str | None, typer.Option(help="Category of the training; with --data.")] = None,
    as_json: Json = False,
) -> None:
    """Writes a model as one ONNX file that `python -m altub.runtime` scores images with, without torch.

    The file is compared with the model before it is kept.
    """
    from altub.cli.progress import CountBar
    from altub.inference.detector import AnomalyDetector
    from altub.inference.model_files import read_config
    from altub.inference.onnx_export import export_onnx

    if (data is None) != (category is None):
        raise ConfigError("Give --data and --category together.")
    held_out = [] if data is None or category is None else _held_out(model, data, category)
    detector = AnomalyDetector.load(model, "cpu")
    with CountBar("images") as bar:
        done = export_onnx(
            detector, onnx, held_out=held_out, model_sha256=read_config(model).weights_sha256, progress=bar.update
        )
    if as_json:
        values = {name: getattr(done, name) for name in done.__dataclass_fields__}
        print(json.dumps(values | {"file": str(done.file)}))
        return
    what = "held-out images" if done.recalibrated else "random images"
    print(f"{done.file}: {done.size / 1e6:.1f} MB")
    print(
        f"Compared with the model on {done.compared} {what}: maps differ by at most {done.map_difference:.1e}, scores "
        f"by {done.score_difference:.1e} (relative)."
    )
    if done.recalibrated:
        print("Thresholds: calibrated on the held-out images with onnxruntime.")
    else:
        print("Thresholds: those of the model. With --data and --category they are calibrated with onnxruntime.")


def _held_out(model: Path, data: str, category: str) -> list[ImageSource]:
    """The good images that calibrated the model.

    Raises:
        ConfigError: the model's run does not say which.
        DataError: they are not in the data.
    """
    from altub.data import load_category
    from altub.runs.run import Run
    from altub.training.data_record import DataRecord

    run = Run(model.resolve().parent)
    if not run.data_file.is_file():
        raise ConfigError(
            f"{model} does not belong to a run that says which images were held out (data.json): export it without "
            "--data and --category."
        )
    record = DataRecord.read(run.data_file, run.id)
    return [sample.source for sample in record.held_out(load_category(data, category).train)]
