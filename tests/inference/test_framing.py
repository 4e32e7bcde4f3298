"""Tiles and kept aspect ratios: no seams, the same in training, calibration and inference, and bounded memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from altub.backbones import Backbone
from altub.data import load_category
from altub.errors import ConfigError
from altub.flows import FlowConfig, FlowPyramid
from altub.inference.config import DetectorConfig
from altub.inference.detector import AnomalyDetector
from altub.inference.framing import TILES_AT_A_TIME, Framing
from altub.inference.framing_settings import require_plain
from altub.runs.run import Run
from altub.training.adaptation import adapt_detector
from altub.training.config import make_config
from altub.training.data_record import DataRecord
from altub.training.loop import train
from tests.conftest import write_category


@pytest.mark.parametrize("overlap", [0, 16, 32])
@pytest.mark.parametrize("aspect", ["squash", "keep"])
@pytest.mark.parametrize("size", [(300, 300), (500, 200), (64, 640)])
def test_tiles_of_a_map_are_joined_to_the_same_map(size: tuple[int, int], aspect: str, overlap: int) -> None:
    frame = Framing(320, tile=64, overlap=overlap, aspect=aspect).frame(size)
    width, height = frame.size
    assert max(frame.size) == 320 and (aspect == "keep" or width == height)
    assert all(left % 32 == top % 32 == 0 for left, top in frame.corners)
    whole = torch.rand(2, max(height, 64), max(width, 64))
    tiles = [whole[:, top : top + 64, left : left + 64] for left, top in frame.corners]
    batches = (torch.stack(tiles[start : start + 3]) for start in range(0, len(tiles), 3))
    torch.testing.assert_close(frame.joined(batches), whole[:, :height, :width])


def test_a_tile_is_what_lies_there_and_a_small_canvas_is_continued() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 160, 3), np.uint8)
    frame = Framing(160, tile=64, overlap=16, aspect="keep").frame((160, 40))
    assert frame.size == (160, 32)
    image = Image.fromarray(pixels[:32])
    for index, (left, top) in enumerate(frame.corners):
        tile = (frame.tile(image, index) * 255).round().byte().permute(1, 2, 0).numpy()
        assert top == 0 and np.array_equal(tile[:32], pixels[:32, left : left + 64])
        assert (tile[32:] == tile[31]).all()


def test_large_images_take_a_few_tiles_at_a_time_and_a_map_of_bounded_size() -> None:
    frame = Framing(6000, tile=256, overlap=64, aspect="keep").frame((6000, 4000))
    assert frame.size == (6016, 4000) and frame.shrink == 4
    image = Image.new("RGB", (6000, 4000))
    assert next(iter(frame.tiles(image))).shape == (TILES_AT_A_TIME, 3, 256, 256)
    maps = frame.joined(torch.ones(1, 1, 64, 64) for _ in range(len(frame)))
    assert maps.shape == (1, 1000, 1504) and torch.allclose(maps, torch.ones(()))
    assert Framing(16_384, tile=256).frame((9, 9)).shrink == 8


def local_detector(framing: Framing) -> AnomalyDetector:
    """One whose features and flow look no further than 36 pixels around a position."""
    torch.manual_seed(0)
    backbone = Backbone.from_module(nn.Conv2d(3, 8, 4, stride=4), "tiny", image_size=64, image_size_multiple=4)
    flow = FlowConfig(steps=2, norm="none")
    pyramid = FlowPyramid(flow, [(8, framing.side // 4, framing.side // 4)])
    for parameter in pyramid.heads.parameters():  # far from the identity
        parameter.data += 0.3 * torch.randn_like(parameter)
    config = DetectorConfig(
        backbone="tiny",
        stages=(0,),
        backbone_sha256=backbone.weights.sha256,
        image_size=framing.image_size,
        tile=framing.tile,
        overlap=framing.overlap,
        shapes=((8, framing.side // 4, framing.side // 4),),
        flow=flow,
        map_kind="nll",
        smoothing=0.0,
    )
    return AnomalyDetector(config, backbone, pyramid).eval().requires_grad_(False)


def test_a_tiled_map_is_the_untiled_one_inside_the_tiles_and_has_no_seams() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (160, 160, 3), np.uint8))
    (whole,), _ = local_detector(Framing(160)).raw_maps([image])
    maps, scales = local_detector(Framing(160, tile=96, overlap=32)).raw_maps([image])
    tiled = maps[0]
    assert tiled.shape == whole.shape == (160, 160) and scales[0].shape == (1, 160, 160)
    single = torch.ones(160, dtype=torch.bool)
    single[64:96] = False  # the tiles are 0 to 96 and 64 to 160
    inside = single[:, None] & single
    torch.testing.assert_close(tiled[inside], whole[inside], rtol=1e-5, atol=1e-5)
    assert not torch.equal(tiled[64:96], whole[64:96]), "the borders of tiles are seen by the flow"
    # Where a tile begins or ends the map goes on as smoothly as the untiled one.
    for border in (64, 96):
        step, usual = ((values[border] - values[border - 1]) for values in (tiled, whole))
        assert (step - usual).abs().max() < 0.1 * whole.std()


@pytest.mark.parametrize("settings", [{"tile": 32, "overlap": 16}, {"aspect": "keep"}])
def test_training_calibration_and_inference_see_images_in_the_same_way(settings: dict, tmp_path: Path) -> None:
    write_category(tmp_path / "data" / "weave", good=8, tested=2)
    for path in (tmp_path / "data").rglob("*.png"):  # not square
        Image.open(path).resize((64, 48)).save(path)
    config = make_config(
        data=str(tmp_path / "data"), category="weave", backbone="filter-bank", image_size=64, epochs=1, device="cpu",
        flow={"steps": 2, "hidden_ratio": 0.5, "position_rank": 4}, held_out=0.25, **settings,
    )  # fmt: skip
    run = Run.create(tmp_path / "run", config)
    for _ in train(run):
        pass
    detector = AnomalyDetector.load(run.model_dir, "cpu")
    assert (detector.config.tile, detector.config.aspect) == (config.tile, config.aspect)
    split = DataRecord.read(run.data_file, run.id).restore(run.id, load_category(config.data, config.category))
    scores = [detector.predict(sample.source).score for sample in split.held_out]
    assert detector.calibration.scores == pytest.approx(sorted(scores), rel=1e-5)
    prediction = detector.predict(split.tested[0].source)
    assert prediction.anomaly_map.shape == (48, 64)
    assert prediction.model_map.shape == ((48, 64) if config.aspect == "keep" else (64, 64))
    assert run.last_and_best()[0].test.pixel_auroc is not None
    assert detector.info.images.trained == 4

    with pytest.raises(ConfigError, match="cannot be adapted"):
        adapt_detector(detector, None, "base", None)
    with pytest.raises(ConfigError, match="cannot be exported"):
        require_plain(detector.config, "exported")


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"image_size": 5000}, "needs tiles"),
        ({"tile": 16}, "at least 32"),
        ({"tile": 512}, "larger than image_size"),
        ({"tile": 128, "overlap": 80}, "at most half"),
        ({"tile": 100}, "multiple of 16"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_config(category="any", **settings)
