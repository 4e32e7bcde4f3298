"""Regions: where a model looks, from the polygons to maps, scores and thresholds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from altub.errors import ConfigError
from altub.inference.regions import Region, inspected_pixels, read_regions
from altub.training.config import make_config
from altub.training.fields import parse_pairs
from tests.conftest import SIDE
from tests.inference.detectors import untrained

LEFT = Region(kind="inspect", points=[(0, 0), (0.5, 0), (0.5, 1), (0, 1)])
CORNER = Region(kind="ignore", points=[(0, 0), (0.25, 0), (0.25, 0.25), (0, 0.25)])


@pytest.fixture
def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(90, 160, (SIDE, SIDE, 3), dtype=np.uint8)) for _ in range(4)]


def test_what_is_inside() -> None:
    inside = inspected_pixels([LEFT, CORNER], 8, 8)
    assert inside[:, 4:].sum() == 0 and inside[:2, :2].sum() == 0 and inside.sum() == 8 * 4 - 4
    triangle = Region(kind="inspect", points=[(0, 0), (1, 0), (0, 1)])
    share = inspected_pixels([triangle], 100, 100).mean()
    assert share == pytest.approx(0.5, abs=0.01)
    with pytest.raises(ConfigError, match="nothing to inspect"):
        inspected_pixels([Region(kind="ignore", points=[(0, 0), (1, 0), (1, 1), (0, 1)])], 8, 8)


@pytest.mark.parametrize("settings", [{}, {"map_kind": "mixture", "score_kind": "range", "score_share": 0.02}])
def test_what_lies_outside_raises_nothing(images: list[Image.Image], settings: dict) -> None:
    looks = untrained(smoothing=1.0, regions=(LEFT, CORNER), **settings)
    looks.calibrate_scales(
        looks.pyramid.energy_maps(looks.pyramid.normalise(looks.backbone(torch.rand(4, 3, SIDE, SIDE))))
    )
    maps, scales = looks.raw_maps(images)
    looks.calibration = looks.fit_calibration(looks.image_scores(scales).numpy(), maps.numpy())
    inside = inspected_pixels((LEFT, CORNER), SIDE, SIDE)
    threshold = looks.threshold
    for prediction in looks.predict_many(images):
        outside = prediction.model_map[~inside]
        assert (outside == prediction.model_map[inside].min()).all()
        assert not (prediction.at(threshold).mask & ~inside)[:, SIDE // 2 + 1 :].any()


def test_a_spot_outside_changes_neither_score_nor_map_far_from_it(images: list[Image.Image]) -> None:
    right = SIDE - SIDE // 8
    spoiled = images[0].copy()
    spoiled.paste((255, 0, 0), (right, SIDE // 2, SIDE, SIDE // 2 + SIDE // 8))
    edge = Region(kind="inspect", points=[(0, 0), (0.25, 0), (0.25, 1), (0, 1)])  # no coarse position sees both
    for regions, same in (((edge,), True), ((), False)):
        detector = untrained("none", score_share=0.01, regions=regions)
        scores = detector.image_scores(detector.raw_maps([images[0], spoiled])[1])
        assert torch.isclose(scores[0], scores[1], rtol=1e-3) == same


def test_a_saved_model_keeps_them_and_an_earlier_one_has_none(images: list[Image.Image], tmp_path: Path) -> None:
    detector = untrained(regions=(CORNER,))
    maps, scales = detector.raw_maps(images)
    detector.calibration = detector.fit_calibration(detector.image_scores(scales).numpy(), maps.numpy())
    detector.save(tmp_path / "model")
    file = tmp_path / "model/config.json"
    assert type(detector).load(tmp_path / "model", "cpu").config.regions == (CORNER,)
    values = json.loads(file.read_text())
    del values["detector"]["regions"]
    file.write_text(json.dumps(values))
    assert type(detector).load(tmp_path / "model", "cpu").config.regions == ()


def test_settings_take_them_as_json(tmp_path: Path) -> None:
    file = tmp_path / "regions.json"
    file.write_text(json.dumps([CORNER.model_dump()]))
    config = make_config(category="any", regions=read_regions(file))
    assert config.regions == (CORNER,)
    text = json.dumps([CORNER.model_dump()])
    assert make_config(category="any", **parse_pairs([f"regions={text}"])) == config
    assert make_config(category="any", **parse_pairs(["regions=none"])).regions == ()
    for bad in (
        "[[0, 0]]",
        '[{"kind": "hide", "points": []}]',
        "no",
        '[{"kind": "ignore", "points": [[0,0],[2,0],[1,1]]}]',
    ):
        file.write_text(bad)
        with pytest.raises(ConfigError):
            read_regions(file)
    whole = Region(kind="ignore", points=[(0, 0), (1, 0), (1, 1), (0, 1)])
    with pytest.raises(ConfigError, match="nothing to inspect"):
        make_config(category="any", regions=(whole,))
