"""A backbone that somebody else's model names is not fetched, nor built, before its weights are found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from altub import AnomalyDetector, Run
from altub.backbones import create_backbone
from altub.errors import WeightsError
from altub.inference.model_cache import ModelCache
from tests.inference.test_foreign_models import change_config

GIANT = "vit_giant_patch14_dinov2.lvd142m"  # 1.1 billion parameters


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """No weights on this machine; notes what would have been built or fetched."""
    monkeypatch.setenv("ALTUB_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("altub.backbones.weights.find_in_cache", lambda file: None)
    asked: list[str] = []
    monkeypatch.setattr("altub.backbones.weights.probe_hub", lambda *_, **__: asked.append("probe") or "")
    monkeypatch.setattr("altub.backbones.weights._download", lambda *_, **__: asked.append("download"))
    monkeypatch.setattr("altub.backbones.timm._construct", lambda *_, **__: asked.append("construct"))
    return asked


def test_it_is_said_before_anything_is_built_or_asked_for(nothing_here: list[str]) -> None:
    with pytest.raises(WeightsError, match="not downloaded without being asked for"):
        create_backbone(GIANT, download=False)
    assert nothing_here == []


def test_looking_at_a_model_on_the_page_fetches_nothing(
    trained_run: Run, tmp_path: Path, nothing_here: list[str]
) -> None:
    folder = shutil.copytree(trained_run.model_dir, tmp_path / "foreign" / "model")
    change_config(folder, "detector.backbone", GIANT)
    with pytest.raises(WeightsError, match="without being asked for"):
        ModelCache(device="cpu").get(folder)
    with pytest.raises(WeightsError, match="without being asked for"):
        AnomalyDetector.load(folder, device="cpu", download=False)
    assert nothing_here == []
