"""A label store with scored images, a person at the desk, without a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from altub.data import load_category
from altub.inference.model_cache import ModelCache
from altub.labels import score_images
from altub.ui.label.choice import ALL_SOURCES
from altub.ui.label.desk import LabelDesk
from altub.ui.services import Services


@pytest.fixture
def services(runs_folder: Path, tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """A page's state over a store with the test images of the trained run's category, scored by its model."""
    monkeypatch.setenv("ALTUB_DB", str(tmp_path / "labels.db"))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "temporary"))
    services = Services(models=ModelCache(device="cpu"))
    for sample in load_category(data_folder, "weave").test:
        services.labels.images.add(sample.path, name=f"{sample.defect}-{sample.path.name}", source="line 3")
    model = services.models.get(runs_folder / "weave-run" / "model")
    score_images(services.labels, model.detector, model.weights_sha256)
    return services


@pytest.fixture
def desk(services: Services) -> LabelDesk:
    return LabelDesk(services)


@pytest.fixture
def ask(desk: LabelDesk):
    """`ask("next_image", have=[...])`: what the page does for Ann, or for `token`."""
    functions = {function.__name__: function for function in desk.functions()}
    token = desk.enter("Ann")
    view = {"run": "weave-run", "show": "unlabelled", "order": "anomalous", "source": ALL_SOURCES, "type": ""}

    def call(name: str, **request: Any) -> dict[str, Any]:
        changed = request.pop("view", {})
        return functions[name]({"token": token, "view": view | changed, **request})

    return call
