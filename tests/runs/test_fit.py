"""Images in, detector out: what a program needs of a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from altub import AnomalyDetector, Run, load_category, make_config, train
from altub.data import Category, Sample
from altub.errors import DataError, ModelError
from tests.backbones.own import OwnNetwork
from tests.conftest import SIDE
from tests.flows.own import OWN as OWN_FLOW
from tests.flows.own import registered_flow

SMALL = {"epochs": 2, "image_size": SIDE, "batch_size": 4, "device": "cpu"}
FLOW = {"kind": "fastflow", "steps": 2, "hidden_ratio": 0.5}


@pytest.fixture(scope="module")
def category(data_folder: Path) -> Category:
    return load_category(data_folder, "weave")


@pytest.fixture(scope="module")
def arrays(category: Category) -> list[np.ndarray]:
    return [np.asarray(sample.read()) for sample in category.train]


def scores(detector: AnomalyDetector, category: Category) -> list[float]:
    return [detector.predict(sample.path).score for sample in category.test]


def test_however_the_images_are_given_the_detector_is_the_same(category: Category, arrays: list[np.ndarray]) -> None:
    paths = [sample.path for sample in category.train]
    ways = (arrays, paths, [Image.fromarray(array) for array in arrays], [path.read_bytes() for path in paths])
    found = [
        scores(AnomalyDetector.fit(images, backbone="filter-bank", flow=FLOW, **SMALL), category) for images in ways
    ]
    assert all(one == found[0] for one in found) and len(set(found[0])) > 1


def test_a_folder_is_enough_and_the_threshold_works(data_folder: Path, category: Category) -> None:
    detector = AnomalyDetector.fit(data_folder / "weave", backbone="filter-bank", flow=FLOW, **SMALL)
    threshold = detector.calibration.threshold(0.2)
    verdicts = [detector.predict(sample.path).at(threshold).is_anomalous for sample in category.defective]
    assert any(verdicts) and detector.info.metrics is not None


def test_events_are_told_and_the_run_is_kept_where_it_is_wanted(tmp_path: Path, arrays: list[np.ndarray]) -> None:
    kinds: list[str] = []
    AnomalyDetector.fit(
        arrays,
        backbone="filter-bank",
        flow=FLOW,
        name="plate",
        run_dir=tmp_path / "run",
        on_event=lambda event: kinds.append(event.kind),
        **SMALL,
    )
    assert kinds.count("epoch") == 2 and kinds[-1] == "finished"
    run = Run.open(tmp_path / "run")
    assert run.status.state == "finished" and run.config.category == "plate"
    with pytest.raises(DataError, match="given from Python"):
        load_category(run.config.data, run.config.category)


def test_too_few_images_are_said(arrays: list[np.ndarray]) -> None:
    with pytest.raises(DataError, match="3 good images are too few"):
        AnomalyDetector.fit(arrays[:3], backbone="filter-bank", **SMALL)


def test_samples_in_memory_have_masks_and_metrics(arrays: list[np.ndarray], tmp_path: Path) -> None:
    bad, mask = arrays[0].copy(), np.zeros((SIDE, SIDE), bool)
    bad[10:30, 10:30], mask[10:30, 10:30] = 255, True
    tested = [Sample(Path("a"), image=arrays[1]), Sample(Path("b"), "blot", image=bad, mask=mask)]
    category = Category.from_images("plate", arrays, tested)
    assert category.counts() == {"train": len(arrays), "test_good": 1, "test_defective": 1, "masks": 1}
    settings = {**SMALL, "epochs": 1, "backbone": "filter-bank", "flow": FLOW}
    run = Run.create(tmp_path / "run", make_config(category="plate", **settings))
    for _ in train(run, category=category):
        pass
    assert run.events()[0].test.pixel_auroc > 0.9


def test_a_stopped_run_resumes_exactly_with_its_images_given_again(arrays: list[np.ndarray], tmp_path: Path) -> None:
    category = Category.from_images("plate", arrays)
    settings = {**SMALL, "backbone": "filter-bank", "flow": FLOW}
    whole, run = (Run.create(tmp_path / name, make_config(category="plate", **settings)) for name in ("a", "b"))
    for _ in train(whole, category=category):
        pass
    for event in train(run, category=category):
        if event.kind == "epoch" and event.status.epoch == 1:
            run.request_stop()
    assert run.status.state == "stopped"
    with pytest.raises(DataError, match="given from Python"):
        list(train(run))
    for _ in train(run, category=category):
        pass
    models = [AnomalyDetector.load(one.model_dir, device="cpu").state_dict() for one in (whole, run)]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_a_module_and_a_flow_of_ones_own(arrays: list[np.ndarray], category: Category, tmp_path: Path) -> None:
    with registered_flow():
        detector = AnomalyDetector.fit(arrays, backbone=OwnNetwork(), flow={"kind": OWN_FLOW}, **SMALL)
        assert detector.backbone.name == "OwnNetwork" and detector.config.flow.kind == OWN_FLOW
        folder = detector.save(tmp_path / "model")
        again = AnomalyDetector.load(folder, "cpu", backbone=OwnNetwork())
        assert scores(again, category) == scores(detector, category)
        with pytest.raises(ModelError, match=r"OwnNetwork.*register_backbone"):
            AnomalyDetector.load(folder, "cpu")
