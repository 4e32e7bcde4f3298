"""The start of the page in a Space: where things are kept, the model to begin with, a GPU if one is lent."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from altub.deploy.contents import CHECKOUT, MODEL_FOLDER
from altub.errors import AltUBError, ModelError, RunError
from altub.files import explain_full_disk
from altub.inference.model_cache import ModelCache
from altub.runs.run import Run
from altub.settings import runs_root, zero_gpu

if TYPE_CHECKING:
    from altub.ui.services import Services

__all__ = ["install_starting_model", "main", "zero_gpu_services"]


def main() -> int:
    """Serves the page until it is interrupted; the exit code, 2 for what the owner must change."""
    services = zero_gpu_services() if zero_gpu() else None  # before anything asks torch for a GPU
    from altub.ui.app import run
    from altub.ui.server.preloading import preload

    if services is not None:
        preload()  # each use of a lent GPU is a fork of this process: it has what is imported here, and no thread
    try:
        install_starting_model()
    except AltUBError as error:  # the page works without it
        print(error, file=sys.stderr)
    return run([], services)


def zero_gpu_services() -> Services | None:
    """Services that predict and train on lent GPUs; None where the package `spaces` is missing."""
    from altub.runs.launchers.zero_gpu import ZeroGPULauncher, gpu_decorator

    decorate = gpu_decorator()
    if decorate is None:
        return None
    from altub.ui.services import Services

    launcher = ZeroGPULauncher(decorate)
    return Services(launcher, ModelCache(device="cpu", map_source=launcher.map_source))


def install_starting_model(folder: Path = CHECKOUT / MODEL_FOLDER, root: Path | None = None) -> Run | None:
    """Puts the Space's starting model among the runs, once; a newer deployment's replaces an older one's.

    Args:
        folder: the run as it was assembled; None is returned where there is none.
        root: the runs folder.

    Raises:
        ModelError: the assembled model cannot be read.
        DiskFullError: no room.
    """
    if not (folder / "config.json").is_file():
        return None
    root = root or runs_root()
    try:
        category = Run(folder).config.category
    except RunError as error:
        raise ModelError("The Space's starting model is damaged: deploy the Space again.") from error
    name = re.sub(r"[^A-Za-z0-9]+", "-", category).strip("-").lower()[:40] or "model"
    run = Run(root / f"{name}-starting-model")
    if _same(folder / "model" / "config.json", run.model_dir / "config.json"):
        return run
    with explain_full_disk(root):
        root.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=root, prefix=".starting-"))
        try:
            shutil.copytree(folder, temporary / "run")
            if run.path.exists():
                os.replace(run.path, temporary / "old")
            os.replace(temporary / "run", run.path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return run


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()
