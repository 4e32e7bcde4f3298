"""CFLOW-AD: its published size, its mathematics, and everything that a detector on it must keep."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from altub.data import load_category
from altub.errors import ConfigError
from altub.flows import AffineCoupling, CFlowHead, FastFlowHead, FlowConfig, FlowPyramid
from altub.flows.coupling import random_rotation
from altub.flows.position import position_code
from altub.inference.detector import AnomalyDetector
from altub.runs.run import Run
from altub.training.config import TrainingConfig, make_config
from altub.training.loop import train
from tests.conftest import REPOSITORY
from tests.training.runs import assert_same_weights, run_through, stop_after

pytestmark = pytest.mark.usefixtures("quick_processes")

SMALL = {"kind": "cflow", "steps": 2, "hidden_ratio": 0.5, "condition": 8, "norm": "layer", "fibres": 64}


def head(permutation: str = "hard") -> CFlowHead:
    """A head far from its start, so that every term counts."""
    torch.manual_seed(0)
    config = FlowConfig(kind="cflow", steps=3, condition=8, permutation=permutation)
    made = CFlowHead(config, (6, 4, 5)).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


@pytest.fixture(scope="module")
def cflow_config(small_config: TrainingConfig) -> TrainingConfig:
    return make_config(**{**small_config.model_dump(), "epochs": 3, "flow": SMALL})


@pytest.fixture(scope="module")
def cflow_run(cflow_config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_through(tmp_path_factory.mktemp("cflow") / "run", cflow_config)


@pytest.mark.parametrize("permutation", ["hard", "soft"])
def test_a_fibre_alone_is_mapped_as_in_its_map(permutation: str) -> None:
    flow, x = head(permutation), torch.randn(2, 6, 4, 5, dtype=torch.double)
    z, log_det = flow.transform(x)
    codes = flow.codes(4, 5).double()
    fibre = x[1, :, 2, 3][None]
    mapped, alone = flow.forward_fibres(fibre, codes[2 * 5 + 3 :][:1])
    torch.testing.assert_close(mapped[0], z[1, :, 2, 3])
    torch.testing.assert_close(alone[0], log_det[1, 2, 3])
    jacobian = torch.autograd.functional.jacobian(lambda v: flow.forward_fibres(v, codes[13:14])[0][0], fibre)
    expected = torch.linalg.slogdet(jacobian.reshape(6, 6))[1]
    torch.testing.assert_close(alone[0], expected, rtol=1e-5, atol=1e-5)


def test_a_soft_step_has_the_numerical_gradient() -> None:
    torch.manual_seed(0)
    block = AffineCoupling([(5,)], [(3,)], subnet_constructor=torch.nn.Linear, clamp=1.9, permutation="soft").double()
    x = torch.randn(4, 5, dtype=torch.double, requires_grad=True)
    code = torch.randn(4, 3, dtype=torch.double)
    assert torch.autograd.gradcheck(lambda value: (lambda out: (out[0][0], out[1]))(block((value,), (code,))), (x,))


def test_rotations_are_rotations() -> None:
    torch.manual_seed(0)
    rotation = random_rotation(7)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(7), rtol=0, atol=1e-5)
    assert torch.linalg.det(rotation).item() == pytest.approx(1, abs=1e-4)


def test_position_code_is_the_published_one_and_stretches() -> None:
    code = position_code(128, (6, 9), (6, 9))
    assert code.shape == (128, 6, 9)
    rate = math.exp(-math.log(10_000) * 10 / 64)  # of channels 10 and 11
    for channel, place in ((10, 7), (74, 4)):  # first 64 for the column, last 64 for the row
        assert code[channel, 4, 7].item() == pytest.approx(math.sin(place * rate), abs=1e-5)
        assert code[channel + 1, 4, 7].item() == pytest.approx(math.cos(place * rate), abs=1e-5)
    larger = position_code(128, (18, 27), (6, 9))  # every third place is a place of the small map
    torch.testing.assert_close(larger[:, 1::3, 1::3], code, rtol=0, atol=1e-4)


def test_the_place_matters_but_no_neighbour_does() -> None:
    flow, x = head(), torch.zeros(1, 6, 4, 5, dtype=torch.double)
    z = flow(x)[0]
    assert not torch.allclose(z[0, :, 0, 0], z[0, :, 3, 4])
    x[0, :, 1, 1] = 5.0
    changed = (flow(x)[0] != z).any(1)[0]
    assert changed[1, 1] and changed.sum() == 1


def test_energy_is_the_density_per_dimension() -> None:
    torch.manual_seed(0)
    pyramid = FlowPyramid(FlowConfig(**{**SMALL, "norm": "none"}), [(6, 4, 5)])
    torch.nn.init.normal_(pyramid.bases[0].mean)
    torch.nn.init.normal_(pyramid.bases[0].log_std, std=0.3)
    x = torch.randn(2, 6, 4, 5)
    (energy,) = pyramid.energy_maps([x])
    torch.testing.assert_close(energy.sum((1, 2)) * 6, pyramid.nll([x])[0].detach(), rtol=1e-4, atol=1e-3)
    pyramid.heads[0].offset.fill_(energy.min())
    likelihood = pyramid.scale_maps([x], (4, 5), "likelihood")
    assert likelihood.min().item() == pytest.approx(-1) and likelihood.max() < 0
    torch.testing.assert_close(likelihood[:, 0], -torch.exp(energy.min() - energy))


def test_defaults_follow_the_kind_and_contradictions_are_said() -> None:
    assert (FlowConfig().hidden_ratio, FlowConfig().clamp) == (1.0, 2.0)
    assert (FlowConfig(kind="cflow").hidden_ratio, FlowConfig(kind="cflow").clamp) == (2.0, 1.9)
    old = {"steps": 8, "hidden_ratio": 1.0, "kernels": "3x3", "clamp": 2.0, "norm": "whiten"}
    read = FlowConfig.model_validate(old)
    assert (read.kind, read.coupling) == ("fastflow", "affine"), "a model saved before there were others"
    assert make_config("fastflow-cait", category="x", flow={"kind": "cflow"}).flow.steps == 8
    with pytest.raises(ConfigError, match="single positions"):
        make_config(category="x", flow={"kind": "cflow", "norm": "layer-affine"})
    with pytest.raises(ConfigError, match="for cflow"):
        make_config(category="x", flow={"loss": "logsigmoid"})
    assert "offset" not in FastFlowHead(FlowConfig(), (4, 2, 2)).state_dict(), "older models must still load"


def test_one_image_has_the_same_map_in_any_company(cflow_run: Run, data_folder: Path) -> None:
    detector = AnomalyDetector.load(cflow_run.model_dir, "cpu")
    samples = (load_category(str(data_folder), "weave").test * 2)[:16]
    paths = [sample.path for sample in samples]
    together = [prediction.anomaly_map for prediction in detector.predict_many(paths)]
    backwards = [prediction.anomaly_map for prediction in detector.predict_many(paths[::-1])][::-1]
    features = detector.backbone(torch.rand(16, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    batch = detector.maps_from_features(features, (64, 64))[0]
    for index in (0, 5, 15):
        alone = detector.predict(paths[index]).anomaly_map
        np.testing.assert_allclose(together[index], alone, rtol=0, atol=1e-6)
        np.testing.assert_allclose(backwards[index], alone, rtol=0, atol=1e-6)
        single = detector.maps_from_features([level[index : index + 1] for level in features], (64, 64))[0]
        torch.testing.assert_close(single[0], batch[index], rtol=0, atol=1e-6)


def test_a_loaded_detector_predicts_bit_for_bit_the_same(cflow_run: Run, tmp_path: Path, data_folder: Path) -> None:
    detector = AnomalyDetector.load(cflow_run.model_dir, "cpu")
    assert all(head.offset != 0 for head in detector.pyramid.heads)
    again = AnomalyDetector.load(detector.save(tmp_path / "copy"), "cpu")
    image = load_category(str(data_folder), "weave").test[0].path
    a, b = detector.predict(image), again.predict(image)
    assert np.array_equal(a.anomaly_map, b.anomaly_map) and np.array_equal(a.scale_maps, b.scale_maps)
    assert a.p_value == b.p_value and a.scale_maps.shape == (3, 64, 64)
    larger = detector.predict(image, image_size=96)
    assert larger.scale_maps.shape == (3, 96, 96) and np.isfinite(larger.anomaly_map).all()


def test_offsets_come_from_held_out_good_images_alone(cflow_run: Run, cflow_config: TrainingConfig) -> None:
    from altub.data.splits import split_held_out
    from altub.training.features import load_images

    detector = AnomalyDetector.load(cflow_run.model_dir, "cpu")
    good = load_category(cflow_config.data, "weave").train
    _, held_out = split_held_out(good, cflow_config.held_out, cflow_config.seed)
    features = detector.backbone(load_images(held_out, 64))
    for head, energy in zip(
        detector.pyramid.heads, detector.pyramid.energy_maps(detector.pyramid.normalise(features)), strict=True
    ):
        torch.testing.assert_close(head.offset, energy.min(), rtol=1e-5, atol=1e-5)


def test_it_learns_and_finds_the_blot(cflow_config: TrainingConfig, tmp_path: Path) -> None:
    settings = {**cflow_config.model_dump(), "epochs": 8, "lr": 1e-2, "flow": {**SMALL, "norm": "whiten"}}
    run = run_through(tmp_path / "r", make_config(**settings))
    events = run.events()
    assert events[-1].held_out < events[0].held_out - 0.05
    assert run.last_and_best()[0].test.image_auroc > 0.9


@pytest.mark.parametrize(
    "change",
    [{"base_update": "moments"}, {"base_update": "off"}, {"interval": 2, "interval_unit": "step"}, {"joint": False}],
)
def test_the_alternation_moves_what_it_should(cflow_config: TrainingConfig, tmp_path: Path, change: dict) -> None:
    base = {**cflow_config.base.model_dump(), **change}
    run = run_through(tmp_path / "r", make_config(**{**cflow_config.model_dump(), "epochs": 2, "base": base}))
    means = [mean for mean, _ in run.base_history()]
    moved = [[bool(np.any(mean[i + 1] != mean[i])) for mean in means] for i in range(2)]
    if change.get("base_update") == "off":
        assert not any(map(any, moved))
    else:
        assert all(moved[1])
    if change in ({"base_update": "moments"}, {"joint": False}):
        assert not any(moved[0]), "the base waits in the flow's epoch"
        assert run.events()[1].phase == "base"


def test_logsigmoid_is_another_training_but_the_loss_told_is_nats_per_dimension(
    cflow_config: TrainingConfig, cflow_run: Run, tmp_path: Path
) -> None:
    flow = {**SMALL, "loss": "logsigmoid"}
    run = run_through(tmp_path / "r", make_config(**{**cflow_config.model_dump(), "epochs": 1, "flow": flow}))
    event, other = run.events()[0], cflow_run.events()[0]
    assert event.loss != other.loss
    assert event.loss == pytest.approx(other.loss, rel=0.05)
    assert event.held_out == pytest.approx(event.loss, rel=0.5)


@pytest.mark.parametrize("asked", [7, 12])
def test_stopped_and_resumed_is_undisturbed(
    cflow_config: TrainingConfig, cflow_run: Run, tmp_path: Path, asked: int
) -> None:
    run = Run.create(tmp_path / "r", cflow_config)
    kinds = [event.kind for event in train(run, should_stop=stop_after(asked))]
    assert kinds[-1] == "stopped" and run.status.epoch < 3
    for _ in train(run):
        pass
    assert_same_weights(cflow_run, run)
    assert [event.loss for event in run.events()] == [event.loss for event in cflow_run.events()]


def test_killed_after_an_epoch_and_resumed_is_undisturbed(
    cflow_config: TrainingConfig, cflow_run: Run, tmp_path: Path
) -> None:
    run = Run.create(tmp_path / "r", cflow_config)
    script = (
        "import os, signal, sys, torch\n"
        f"torch.set_num_threads({torch.get_num_threads()})\n"
        "from altub.runs.run import Run\nfrom altub.training.loop import train\n"
        "epochs = 0\n"
        "for event in train(Run.open(sys.argv[1])):\n"
        "    epochs += event.kind == 'epoch'\n"
        "    if epochs and event.kind == 'progress':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    died = subprocess.run(
        [sys.executable, "-c", script, str(run.path)], cwd=REPOSITORY, env=dict(os.environ), check=False
    )
    assert died.returncode == -signal.SIGKILL
    for _ in train(run):
        pass
    assert_same_weights(cflow_run, run)


def test_soft_permutations_cost_a_matrix_a_step() -> None:
    sizes = {}
    for permutation in ("hard", "soft"):
        flow = make_config("cflow-resnet18", category="x", flow={"permutation": permutation}).flow
        state = FlowPyramid(flow, [(128, 8, 8), (256, 4, 4), (512, 2, 2)]).state_dict()
        sizes[permutation] = sum(value.numel() * value.element_size() for value in state.values())
    rotations = 8 * 4 * (128**2 + 256**2 + 512**2)
    assert sizes["soft"] - sizes["hard"] == rotations - 8 * 8 * (128 + 256 + 512)
