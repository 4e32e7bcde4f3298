"""A page's services over a runs folder with one model that can follow a line."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from altub.inference.model_cache import ModelCache
from altub.labels.inspections import Inspection
from altub.runs.run import Run
from altub.ui.inspect.sessions import SessionStore
from altub.ui.services import Services


@dataclass(frozen=True)
class Line:
    """The services, the run, and its model's weights."""

    services: Services
    run: Run
    model: str


@pytest.fixture
def line(line_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    run = Run(Path(shutil.copytree(line_run.path, tmp_path / "runs" / "line-run")))
    for name, place in (("ALTUB_RUNS", "runs"), ("ALTUB_DATA", "data"), ("ALTUB_DB", "data/labels.db")):
        monkeypatch.setenv(name, str(tmp_path / place))
    services = Services(models=ModelCache(device="cpu"), sessions=SessionStore(tmp_path / "batches"))
    return Line(services, run, services.models.get(run.model_dir).weights_sha256)


def inspections(model: str, brightness: list[float], *, source: str = "page", start: int = 0) -> list[Inspection]:
    """Good images of a model, of which only the brightness is measured."""
    return [
        Inspection(
            source,
            None,
            f"{start + index}.png",
            f"{start + index:064d}",
            model,
            None,
            "good",
            1.0,
            0.5,
            2.0,
            "",
            1e9 + index,
            {"brightness": value},
        )
        for index, value in enumerate(brightness)
    ]
