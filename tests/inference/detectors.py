"""Detectors made without a training, and what it means that two predictions are the same."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from altub.backbones import Backbone, create_backbone
from altub.flows import FlowPyramid
from altub.inference.calibration import Calibration
from altub.inference.config import DetectorConfig
from altub.inference.detector import AnomalyDetector
from altub.inference.prediction import Prediction
from altub.inference.threshold import Threshold
from altub.training.config import make_config
from tests.conftest import SIDE


def assert_same(a: Prediction, b: Prediction, threshold: Threshold) -> None:
    assert np.array_equal(a.anomaly_map, b.anomaly_map) and np.array_equal(a.scale_maps, b.scale_maps)
    assert (a.score, a.p_value) == (b.score, b.p_value)
    assert a.at(threshold).is_anomalous == b.at(threshold).is_anomalous


def untrained(
    norm: str = "layer", smoothing: float = 0.0, backbone: Backbone | None = None, **settings: object
) -> AnomalyDetector:
    torch.manual_seed(0)
    backbone = backbone or create_backbone("filter-bank", image_size=SIDE)
    flow = make_config(category="any", flow={"steps": 2, "hidden_ratio": 0.5, "norm": norm}).flow
    shapes = tuple((c, SIDE // s, SIDE // s) for c, s in zip(backbone.channels, backbone.strides, strict=True))
    config = DetectorConfig(
        backbone=backbone.name,
        stages=backbone.stages,
        backbone_sha256=backbone.weights.sha256,
        image_size=SIDE,
        shapes=shapes,
        flow=flow,
        smoothing=smoothing,
        **{"map_kind": "likelihood", **settings},
    )
    return AnomalyDetector(config, backbone, FlowPyramid(flow, shapes)).eval()


def calibrated(detector: AnomalyDetector, images: list[Image.Image]) -> AnomalyDetector:
    maps = detector.raw_maps(images)[0]
    detector.calibration = Calibration.fit(maps.amax((1, 2)).numpy(), maps.numpy())
    return detector
