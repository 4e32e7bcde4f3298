"""The files of a Space, taken from this checkout by a list of what belongs there, and the model it starts with."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from altub import version
from altub.errors import INSTALL_UI, ConfigError, ModelError
from altub.files import PACKAGE, explain_full_disk, write_json
from altub.inference.info import ModelInfo
from altub.inference.model_files import CONFIG_FILE, WEIGHTS_FILE, read_config
from altub.metrics import METRICS
from altub.runs.run import Run, Status
from altub.training.config import TrainingConfig, make_config

__all__ = ["MODEL_FOLDER", "assemble", "requirements", "train_starting_model"]

MODEL_FOLDER = "starting-model"
CHECKOUT = PACKAGE.parent
PYTHON, ZERO_PYTHON = "3.11", "3.12"  # ZeroGPU offers 3.10 and 3.12
ZERO_TORCH = "torch>=2.8,<2.12"  # what ZeroGPU runs

SAMPLE = {"data": "sample", "category": "bracket", "backbone": "filter-bank", "device": "cpu"}
SAMPLE_EPOCHS = 8
ELSEWHERE = "not on this server"  # in place of the folder of a model's images, which stays private

_HISTORY = ("events.jsonl", "base_history.npz")

Tell = Callable[[str], None]


def assemble(
    folder: Path, *, model: Path | None = None, hardware: str | None = None, tell: Tell = lambda words: None
) -> list[Path]:
    """Writes a Space into a new or empty folder; returns its files, relative to it.

    Args:
        model: a run's model folder; without it a model of the sample is trained.
        hardware: as the Hub names it; ZeroGPU wants other versions.
        tell: called with what is being done.

    Raises:
        ConfigError: the package is not in a checkout, or the folder holds something.
        ModelError: the model is not complete.
        DiskFullError: no room.
    """
    folder = Path(folder)
    if not (CHECKOUT / "spaces" / "README.md").is_file():
        raise ConfigError("A Space is assembled from a checkout of AltUB: run this from the folder of its source code.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not an empty folder: choose another --folder, or empty this one.")
    if model is not None:
        _check_model(model)  # before anything is written
    zero = (hardware or "").startswith("zero")
    with explain_full_disk(folder):
        for source in _sources():
            goal = folder / source.relative_to(CHECKOUT)
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, goal)
        shutil.copyfile(CHECKOUT / "spaces" / "app.py", folder / "app.py")
        (folder / "README.md").write_text(_readme(hardware, zero), encoding="utf-8")
        (folder / "requirements.txt").write_text(requirements(zero), encoding="utf-8")
        if model is not None:
            _pack_model(model, folder / MODEL_FOLDER)
        else:
            with tempfile.TemporaryDirectory(prefix="altub-start-") as temporary:
                run = train_starting_model(Path(temporary) / "run", tell)
                _pack_model(run.model_dir, folder / MODEL_FOLDER)
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def train_starting_model(path: Path, tell: Tell = lambda words: None, **settings: Any) -> Run:
    """Trains a short model of the sample, which needs no download and runs on any Space."""
    from altub.training.loop import train

    run = Run.create(path, make_config(**{**SAMPLE, "epochs": SAMPLE_EPOCHS, **settings}))
    tell("Training the starting model on the built-in sample.")
    for event in train(run):
        if event.record is not None:
            auroc = event.record.value("pixel_auroc")
            shown = "" if auroc is None else f", {METRICS['pixel_auroc'].label} {auroc:.3f}"
            tell(f"epoch {event.record.epoch} of {run.config.epochs}{shown}")
    return run


def requirements(zero: bool = False) -> str:
    """requirements.txt of a Space: the library's and the page's, with Gradio at the version this one runs."""
    lines = []
    for line in version.requirements("ui"):
        name = re.match(r"[A-Za-z0-9_.-]*", line).group().lower()
        if name == "gradio":
            line = f"gradio[oauth]=={_gradio_version()}"
        elif name == "torch" and zero:
            line = ZERO_TORCH
        lines.append(line)
    return "\n".join(lines) + "\n"


def _gradio_version() -> str:
    try:
        return metadata.version("gradio")
    except metadata.PackageNotFoundError as error:
        raise ConfigError(f"A Space runs the Gradio version installed here, and there is none. {INSTALL_UI}") from error


def _sources() -> Iterator[Path]:
    """The package, what the page shows, licence and requirements; no links, which could lead out of the checkout."""
    patterns = ("altub/**/*.py", "altub/assets/*", "altub/py.typed", "LICENSE", "pyproject.toml")
    for pattern in patterns:
        for path in sorted(CHECKOUT.glob(pattern)):
            if path.is_file() and not path.is_symlink() and path.resolve() == path:
                yield path


def _readme(hardware: str | None, zero: bool) -> str:
    text = (CHECKOUT / "spaces" / "README.md").read_text(encoding="utf-8")
    values = {
        "sdk_version": _gradio_version(),
        "python_version": ZERO_PYTHON if zero else PYTHON,
        "suggested_hardware": hardware or "cpu-basic",
    }
    for name, value in values.items():
        text = text.replace(f"{{{{ {name} }}}}", value)
    return text


def _check_model(model: Path) -> ModelInfo:
    if not (Path(model) / CONFIG_FILE).is_file():
        raise ModelError(f"{model} holds no model: give the model folder of a run, such as runs/bottle/model.")
    if not (Path(model) / WEIGHTS_FILE).is_file():
        raise ModelError(f"The model in {model} is not complete: {WEIGHTS_FILE} is missing. Train or fetch it again.")
    return read_config(Path(model)).info


def _pack_model(model: Path, goal: Path) -> None:
    """A finished run with this model, its curves if there are any, and nothing about the machine it was trained on."""
    info = _check_model(model)
    source = Run(Path(model).resolve().parent)
    (goal / "model").mkdir(parents=True)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        shutil.copyfile(Path(model) / name, goal / "model" / name)
    for name in _HISTORY:
        if (source.path / name).is_file():
            shutil.copyfile(source.path / name, goal / name)
    category = info.category if "category" in info.model_fields_set and info.category else "model"
    try:
        config = TrainingConfig.of_model(info)
    except ValidationError:  # of a foreign model; the page needs it to show the run, not to train it
        config = None
    config = (config or TrainingConfig(category=category)).model_copy(update={"category": category})
    if not _learned_from_sample(source, config.category):
        config = config.model_copy(update={"data": ELSEWHERE})
    epochs = info.epoch or config.epochs
    config = config.model_copy(update={"epochs": max(epochs, 1)})
    write_json(goal / "config.json", config.model_dump(mode="json"))
    status = Status(state="finished", stage="finished", epoch=epochs, epochs=epochs, progress=1.0, created=time.time())
    write_json(goal / "status.json", status.model_dump(mode="json"))


def _learned_from_sample(source: Run, category: str) -> bool:
    from altub.data.sample import SAMPLE_CATEGORIES
    from altub.errors import RunError

    try:
        return source.config.data == "sample" and category in SAMPLE_CATEGORIES
    except RunError:  # a model without its run
        return False
