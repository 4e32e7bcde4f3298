"""The format of kept features: chosen by the memory, written down, and hardly to be seen in the model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from altub.inference.detector import AnomalyDetector
from altub.runs.run import Run
from altub.training.config import TrainingConfig
from altub.training.loop import train
from tests.conftest import write_category
from tests.training.runs import run_through, stop_after, variant, weights

VALUES = 30 * (16**2 + 8**2 + 4**2)  # of an image's features: the filter bank at 64 px


@pytest.fixture(scope="module")
def config(small_config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    """A training whose features have room in one MiB by halves alone."""
    root = tmp_path_factory.mktemp("larger")
    write_category(root / "weave", good=20)
    images = 28  # in all
    assert 4 * VALUES * images > 1 << 20 > 2 * VALUES * images
    return variant(small_config, data=str(root), epochs=2, feature_format="auto")


@pytest.mark.parametrize(("mebibytes", "expected"), [(100, "fp32"), (1, "fp16"), (0, "fp32")])
def test_auto_takes_half_where_that_has_room_and_the_whole_has_not(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mebibytes: int, expected: str
) -> None:
    monkeypatch.setenv("ALTUB_FEATURE_MEMORY", str(mebibytes))
    run = run_through(tmp_path / "r", variant(config, epochs=1))
    assert Run.open(run.path).config.feature_format == expected


def test_a_model_is_the_same_to_the_rounding(small_config: TrainingConfig, trained_run: Run, tmp_path: Path) -> None:
    run = run_through(tmp_path / "r", variant(small_config, feature_format="fp16"))
    kept, found = weights(trained_run), weights(run)
    assert any(not torch.equal(kept[name], found[name]) for name in kept if "heads" in name)
    for name in kept:
        torch.testing.assert_close(found[name].float(), kept[name].float(), rtol=0.02, atol=2e-3, msg=name)
    last, other = (r.events()[-1].test.image_auroc for r in (trained_run, run))
    assert other == pytest.approx(last, abs=0.02)


def test_resumed_it_stays_what_it_was(config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALTUB_FEATURE_MEMORY", "1")
    run = Run.create(tmp_path / "r", config)
    for _ in train(run, should_stop=stop_after(3)):
        pass
    monkeypatch.setenv("ALTUB_FEATURE_MEMORY", "100")
    for _ in train(run):
        pass
    assert run.config.feature_format == "fp16" and AnomalyDetector.load(run.model_dir, "cpu").info.epoch == 2
