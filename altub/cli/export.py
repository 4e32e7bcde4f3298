"""The command `export`: a trained model for programs without torch."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from altub.cli.options import Json, Model
from altub.errors import ConfigError

if TYPE_CHECKING:
    from altub.data import Category
    from altub.inference.detector import AnomalyDetector
    from altub.training.data_record import DataRecord

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
    int8: Annotated[
        bool, typer.Option("--int8", help="Convolutions in 8-bit integers, and what that costs; with --data.")
    ] = False,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="With --int8: write the file although its AUROC is clearly lower.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Writes a model as one ONNX file that `python -m altub.runtime` scores images with, without torch.

    The file is compared with the model before it is kept.
    """
    from altub.inference.detector import AnomalyDetector

    if (data is None) != (category is None):
        raise ConfigError("Give --data and --category together.")
    if accept_loss and not int8:
        raise ConfigError("--accept-loss says something of --int8 only: give both, or neither.")
    if int8 and data is None:
        raise ConfigError(
            "--int8 needs --data and --category, the data of the training: its images give the ranges of the integers, "
            "the thresholds, and the loss of AUROC."
        )
    images = None if data is None or category is None else _images(model, data, category)
    detector = AnomalyDetector.load(model, "cpu")
    if int8 and images is not None:
        _int8(detector, model, onnx, *images, accept_loss, as_json)
    else:
        _float32(detector, model, onnx, images, as_json)


def _float32(
    detector: AnomalyDetector, model: Path, onnx: Path, images: tuple[DataRecord, Category] | None, as_json: bool
) -> None:
    from altub.cli.progress import CountBar
    from altub.inference.model_files import read_config
    from altub.inference.onnx_export import export_onnx

    held_out = [] if images is None else [sample.source for sample in images[0].held_out(images[1].train)]
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


def _int8(
    detector: AnomalyDetector,
    model: Path,
    onnx: Path,
    record: DataRecord,
    category: Category,
    accept_loss: bool,
    as_json: bool,
) -> None:
    from altub.cli.progress import CountBar
    from altub.evaluation.int8_export import export_int8
    from altub.inference.model_files import read_config

    others = {id(sample) for sample in record.untrained(category.train)}
    with CountBar("images") as bar:
        done = export_int8(
            detector,
            onnx,
            trained=[sample.source for sample in category.train if id(sample) not in others],
            held_out=[sample.source for sample in record.held_out(category.train)],
            tested=record.untrained(category.test),
            accept_loss=accept_loss,
            model_sha256=read_config(model).weights_sha256,
            progress=bar.update,
        )
    if as_json:
        print(json.dumps(asdict(done) | {"file": str(done.file)}))
        return
    cost = done.quantised
    print(f"{done.file}: {done.size / 1e6:.1f} MB (float32: {done.float_size / 1e6:.1f} MB)")
    print(cost)
    if cost.loss is not None:
        print(f"Loss of AUROC: at most {max(cost.loss, 0.0):.4f}.")
    if cost.speed < 1:
        print("int8 is not faster than float32 on this computer: export it in float32 unless the file's size matters.")
    print("Thresholds: calibrated on the held-out images with onnxruntime in int8.")
    if done.threshold_left_out:
        print(
            "Note: the model's own threshold was made of scores of float32 (labels, or set by hand) and is not in the "
            "file, whose threshold is that of its held-out images."
        )


def _images(model: Path, data: str, category: str) -> tuple[DataRecord, Category]:
    """Which images trained, calibrated and tested the model, and the images.

    Raises:
        ConfigError: the model's run does not say which.
        DataError: there is no such data.
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
    return DataRecord.read(run.data_file, run.id), load_category(data, category)
