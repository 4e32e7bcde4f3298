"""Records of epochs, and what a chart draws of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from altub.metrics import Metrics
from altub.training.records import BaseDrift, EpochPhase, EpochRecord, Quantiles


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALTUB_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def event(epoch: int, phase: EpochPhase = "flow", loss: float | None = 1.0, test: Metrics | None = None) -> EpochRecord:
    quantiles = Quantiles(q05=0.01, q25=0.02, q50=0.03, q75=0.04, q95=0.05)
    return EpochRecord(
        epoch=epoch,
        phase=phase,
        loss=loss,
        held_out=1.25,
        base=[BaseDrift(mean=quantiles, std=quantiles)] * 2,
        test=test,
        images_per_second=12.0,
    )


def polylines(html: str) -> list[list[tuple[float, float]]]:
    found = re.findall(r'<polyline points="([^"]*)"', html)
    return [[tuple(map(float, point.split(","))) for point in points.split()] for points in found]
