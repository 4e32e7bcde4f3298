"""Sessions, a cache of models and an inspected batch, without a browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from altub.data import load_category
from altub.inference.batch import Source
from altub.inference.detector import AnomalyDetector
from altub.inference.model_cache import ModelCache
from altub.ui.inspect.batch import PageBatch
from altub.ui.inspect.handlers import InspectHandlers
from altub.ui.inspect.inspection import add_to_batch
from altub.ui.inspect.sessions import SessionStore
from altub.ui.services import Services


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return Services(models=ModelCache(device="cpu"), sessions=SessionStore(tmp_path / "sessions"))


@pytest.fixture
def sessions(services: Services) -> SessionStore:
    return services.sessions


@pytest.fixture
def handlers(services: Services) -> InspectHandlers:
    return InspectHandlers(services)


@pytest.fixture
def sources(data_folder: Path) -> list[Source]:
    test = load_category(data_folder, "weave").test
    return [Source(sample.path, f"{sample.defect}/{sample.path.name}") for sample in test]


@pytest.fixture
def batch(runs_folder: Path, services: Services, sources: list[Source]) -> PageBatch:
    """All test images, inspected in the session "me"."""
    return add_to_batch(services, "me", next(runs_folder.iterdir()).name, sources)[0]


@pytest.fixture
def forward_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one at every pass of the model over some images."""
    passes: list[int] = []
    true_pass = AnomalyDetector.raw_maps

    def counted(self, images, image_size=None):
        passes.append(len(images))
        return true_pass(self, images, image_size)

    monkeypatch.setattr(AnomalyDetector, "raw_maps", counted)
    return passes
