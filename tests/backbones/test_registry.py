"""Backbones by name: which names are taken, and one of one's own from a training to a loaded model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from altub import AnomalyDetector, Run, TrainingConfig, make_config, train
from altub.backbones import FILTER_BANK, Backbone, create_backbone, register_backbone, weights_available
from altub.backbones.catalogue import backbone_titles, is_known
from altub.errors import ConfigError, ModelError, WeightsError
from altub.training.fields import find_setting
from tests.backbones.own import OWN, OwnNetwork, registered_backbone


@pytest.mark.parametrize("name", ["auto", FILTER_BANK, "", "a/b", "../x", "x" * 129])
def test_an_unusable_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a backbone"):
        register_backbone(name, OwnNetwork)


def test_a_name_is_not_taken_twice() -> None:
    with registered_backbone():
        with pytest.raises(ConfigError, match="replace=True"):
            register_backbone(OWN, OwnNetwork)
        register_backbone(OWN, lambda: OwnNetwork(1), replace=True)
        assert create_backbone(OWN).weights.sha256 == Backbone.from_module(OwnNetwork(1)).weights.sha256


def test_a_registered_backbone_is_offered_made_and_checked() -> None:
    with registered_backbone():
        backbone = create_backbone(OWN, image_size=64)
        assert (backbone.name, backbone.channels, backbone.strides) == (OWN, (6, 10), (4, 8))
        assert create_backbone(OWN, (1,), image_size=64).channels == (10,)
        assert weights_available(OWN) == "none" and is_known(OWN) and backbone_titles()[OWN] == "My network"
        assert OWN in find_setting("backbone").choices
        with pytest.raises(WeightsError, match=OWN):
            create_backbone(OWN, expected_sha256="0" * 64)
    assert OWN not in backbone_titles() and not is_known(OWN)
    with pytest.raises(ConfigError, match=rf"no backbone '{OWN}'.*register_backbone"):
        create_backbone(OWN)


def test_a_backbone_with_further_settings_is_registered_as_it_is() -> None:
    def build() -> Backbone:
        return Backbone.from_module(OwnNetwork(), OWN, stages=(0,), image_size=64, has_final_norm=True)

    with registered_backbone():
        register_backbone(OWN, build, replace=True)
        assert create_backbone(OWN).has_final_norm and create_backbone(OWN, (0,)).stages == (0,)
        with pytest.raises(ConfigError, match="leave the stages out"):
            create_backbone(OWN, (0, 1))


def test_a_model_on_a_registered_backbone_is_trained_saved_and_loaded(
    small_config: TrainingConfig, data_folder: Path, tmp_path: Path
) -> None:
    settings = {**small_config.model_dump(), "epochs": 1, "backbone": OWN}
    image = next(data_folder.rglob("*.png"))
    with registered_backbone():
        run = Run.create(tmp_path / "run", make_config(**settings))
        for _ in train(run):
            pass
        detector = AnomalyDetector.load(run.model_dir, "cpu")
        wanted = detector.predict(image).anomaly_map
        assert detector.config.backbone == OWN and detector.config.stages == (0, 1)
        again = AnomalyDetector.load(detector.save(tmp_path / "copy"), "cpu")
        assert np.array_equal(again.predict(image).anomaly_map, wanted)
    with pytest.raises(ModelError, match=rf"{OWN}.*register_backbone"):
        AnomalyDetector.load(run.model_dir, "cpu")
    given = AnomalyDetector.load(run.model_dir, "cpu", backbone=OwnNetwork())
    assert given.config.backbone == OWN and np.array_equal(given.predict(image).anomaly_map, wanted)
    with pytest.raises(WeightsError, match="its scores would mean nothing"):
        AnomalyDetector.load(run.model_dir, "cpu", backbone=OwnNetwork(seed=1))
    with registered_backbone(seed=1), pytest.raises(WeightsError, match="its scores would mean nothing"):
        AnomalyDetector.load(run.model_dir, "cpu")
