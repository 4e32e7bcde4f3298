"""The setting `recompute` of a training: what it changes, what it leaves, and who it reaches."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from PIL import Image

from altub.cli.settings import open_or_create
from altub.data import load_category
from altub.device import Workers
from altub.errors import ConfigError
from altub.flows import FlowPyramid
from altub.flows.coupling import CouplingStep
from altub.inference.detector import AnomalyDetector
from altub.line.adapt import adapt
from altub.runs.run import Run
from altub.training import cross
from altub.training.config import TrainingConfig, make_config
from altub.training.loop import train
from altub.training.preflight import examine
from altub.training.preparation import RECOMPUTE_NOTE
from altub.training.steps import Alternation
from tests.flows.own import OWN, registered_flow
from tests.training.runs import assert_same_weights, run_through, variant, weights
from tests.training.test_waits import ELSEWHERE, IMAGES, SHAPES, crossings


@pytest.fixture
def unwound(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets an entry for every coupling step whose activations were computed again."""
    calls: list[int] = []
    unwind = CouplingStep.unwind

    def counted(step: CouplingStep, *given, **options):
        calls.append(id(step))
        return unwind(step, *given, **options)

    monkeypatch.setattr(CouplingStep, "unwind", counted)
    return calls


@pytest.fixture(scope="module")
def recomputed(small_config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_through(tmp_path_factory.mktemp("recomputed") / "r", variant(small_config, recompute=True))


def test_a_training_learns_the_same(trained_run: Run, recomputed: Run) -> None:
    assert json.loads((recomputed.path / "config.json").read_text())["recompute"] is True
    assert not trained_run.config.recompute
    for ours, theirs in zip(recomputed.events(start=True), trained_run.events(start=True), strict=True):
        assert ours.loss == (theirs.loss if theirs.loss is None else pytest.approx(theirs.loss, rel=1e-5))
        assert ours.held_out == pytest.approx(theirs.held_out, rel=1e-5)
    kept, found = weights(trained_run), weights(recomputed)
    heads = [name for name in kept if "heads" in name and kept[name].is_floating_point()]
    assert any(not torch.equal(kept[name], found[name]) for name in heads), "another rounding"
    for name in kept:
        torch.testing.assert_close(found[name].float(), kept[name].float(), rtol=1e-3, atol=1e-3, msg=name)


@pytest.mark.parametrize(
    "flow",
    [
        {"steps": 2, "hidden_ratio": 0.5, "norm": "layer", "coupling": "additive"},
        {"steps": 2, "hidden_ratio": 0.5, "norm": "layer-affine", "position_code": 8},
        {"kind": "cflow", "steps": 2, "norm": "layer", "fibres": 512, "condition": 16},
    ],
    ids=["additive", "position-code", "cflow"],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_other_flows_and_precisions_too(
    small_config: TrainingConfig, tmp_path: Path, flow: dict, precision: str, unwound: list[int]
) -> None:
    config = variant(small_config, epochs=1, flow=flow, precision=precision)
    plain = run_through(tmp_path / "plain", config)
    assert not unwound
    again = run_through(tmp_path / "again", variant(config, recompute=True))
    assert unwound
    tolerance = 1e-5 if precision == "fp32" else 1e-3
    assert again.events()[0].loss == pytest.approx(plain.events()[0].loss, rel=tolerance)
    assert again.events()[0].held_out == pytest.approx(plain.events()[0].held_out, rel=tolerance)


def test_stopped_and_resumed_is_undisturbed(recomputed: Run, tmp_path: Path, unwound: list[int]) -> None:
    run = Run.create(tmp_path / "r", recomputed.config)
    for event in train(run):
        if unwound and event.kind != "stopped":
            run.request_stop()
    assert run.read_status().state == "stopped" and run.checkpoint_file.exists()
    before = len(unwound)
    for _ in train(Run.open(run.path)):
        pass
    assert len(unwound) > before
    assert_same_weights(recomputed, run)


def test_a_run_that_had_too_little_memory_may_go_on_with_it(
    small_config: TrainingConfig, tmp_path: Path, unwound: list[int]
) -> None:
    run = Run.create(tmp_path / "r", variant(small_config, epochs=2))
    for event in train(run):
        if event.status.step == 1 and event.kind != "stopped":
            run.request_stop()
    assert run.read_status().state == "stopped" and run.checkpoint_file.exists() and not unwound
    for _ in train(open_or_create(run.path, None, {"recompute": True}, True)):
        pass
    assert unwound and Run.open(run.path).config.recompute and run.read_status().epoch == 2


def test_a_run_from_before_there_was_the_setting_goes_on(small_config: TrainingConfig, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", variant(small_config, epochs=1))
    file = run.path / "config.json"
    written = json.loads(file.read_text())
    del written["recompute"]
    file.write_text(json.dumps(written))
    old = Run.open(run.path)
    assert old.config.recompute is False
    for _ in train(old):
        pass
    assert old.status.state == "finished"


def test_a_flow_that_cannot_says_so(small_config: TrainingConfig, recomputed: Run, tmp_path: Path) -> None:
    assert RECOMPUTE_NOTE not in recomputed.status.notes
    with registered_flow():
        config = variant(small_config, epochs=1, flow={"kind": OWN, "norm": "layer"}, recompute=True)
        run = run_through(tmp_path / "r", config)
        assert run.status.state == "finished" and run.status.notes.count(RECOMPUTE_NOTE) == 1
        run = run_through(tmp_path / "s", variant(config, recompute=False))
        assert RECOMPUTE_NOTE not in run.status.notes


def test_base_epochs_compute_nothing_again(small_config: TrainingConfig, tmp_path: Path, unwound: list[int]) -> None:
    config = variant(small_config, epochs=2, recompute=True, base={"interval": 2, "on_top": False, "joint": False})
    seen: list[tuple[int, int]] = []
    for event in train(Run.create(tmp_path / "r", config)):
        seen.append((event.status.epoch, len(unwound)))
    after_first = max(count for epoch, count in seen if epoch <= 1)
    assert after_first == len(unwound) > 0, "the second epoch is the base's"


@pytest.mark.parametrize("recompute", [False, True])
def test_folds_of_a_cross_calibration_do_as_the_training(
    small_config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recompute: bool
) -> None:
    told: list[bool] = []
    energies = cross._energies

    def noted(parts, pyramid, images):
        told.extend(head.recompute for head in pyramid.heads)
        return energies(parts, pyramid, images)

    monkeypatch.setattr(cross, "_energies", noted)
    run_through(tmp_path / "r", variant(small_config, epochs=1, cross_folds=2, recompute=recompute))
    assert told == [recompute] * 9, "three models of three scales"


def test_a_model_does_not_depend_on_it_but_is_adapted_as_it_was_trained(
    trained_run: Run, recomputed: Run, unwound: list[int]
) -> None:
    assert weights(trained_run).keys() == weights(recomputed).keys()
    files = sorted((Path(recomputed.config.data) / "weave/train/good").iterdir())
    images = [Image.open(path).convert("RGB") for path in files[:8]]
    for run in (trained_run, recomputed):
        detector = AnomalyDetector.load(run.model_dir, "cpu")
        assert not any(head.recompute for head in detector.pyramid.heads)
        adapt(detector, images, way="flow", refuse=False)
        assert bool(unwound) is run.config.recompute


@pytest.mark.parametrize("flow", ["fastflow", "cflow"])
def test_a_step_does_not_wait_for_its_device(flow: str, unwound: list[int]) -> None:
    config = make_config(category="any", lr=1e-3, flow={"kind": flow, "steps": 2})
    pyramid = FlowPyramid(config.flow, SHAPES).to(ELSEWHERE)
    pyramid.recompute_activations(True)
    workers = Workers(ELSEWHERE)
    steps = Alternation(config, pyramid, nullcontext, workers)
    with crossings() as watched:
        steps.enqueue([torch.randn(IMAGES, *shape, device=ELSEWHERE) for shape in SHAPES], "flow", 1, 1, 0.0)
    workers.close()
    assert unwound and watched == []


def test_compiled_flows_are_refused(small_config: TrainingConfig) -> None:
    with pytest.raises(ConfigError, match="a compiled flow stores activations: set compile or recompute to false"):
        variant(small_config, compile=True, recompute=True)


def test_the_outlook_knows_of_it(small_config: TrainingConfig) -> None:
    category = load_category(small_config.data, small_config.category)

    def memory(**settings) -> int:
        return examine(variant(small_config, **settings), category).outlook.memory

    def flow(steps: int, **settings) -> dict:
        return {"steps": steps, "hidden_ratio": 0.01, "norm": "layer"}

    assert memory(flow=flow(8), recompute=True) < memory(flow=flow(8))
    assert memory(flow=flow(20)) - memory(flow=flow(8)) > 10 * (
        memory(flow=flow(20), recompute=True) - memory(flow=flow(8), recompute=True)
    )
