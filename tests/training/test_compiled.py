"""A compiled flow trains as one that is not, says what it needs, and leaves no trace in the model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from altub.errors import ConfigError
from altub.runs import Run
from altub.training import TrainingConfig, train
from altub.training.compiled import check_compilation
from altub.training.config import make_config
from tests.training.runs import run_through, variant, weights


@pytest.fixture(autouse=True)
def quickly_compiled(monkeypatch: pytest.MonkeyPatch):
    """The same graphs and gradients, run as they are: what makes machine code of them takes a minute."""
    compiled = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, **options: compiled(function, backend="aot_eager", **options)
    )
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def test_it_trains_as_one_that_is_not_compiled(small_config: TrainingConfig, tmp_path: Path) -> None:
    config = variant(small_config, epochs=2, flow={"steps": 2})
    plain = run_through(tmp_path / "plain", config)
    run, stages, made = Run.create(tmp_path / "compiled", variant(config, compile=True)), set(), []
    for event in train(run):
        stages.add(event.status.stage)
        if event.kind in ("start", "finished"):
            made.append(counters["stats"]["unique_graphs"])
    scales = len(run.events()[1].base)
    assert f"compiling the flow, scale {scales} of {scales}" in stages
    assert made == [scales + 1] * 2, "one graph to see whether it works, one a scale, and none in the steps"
    assert not counters["graph_break"]
    assert [event.loss for event in run.events()][1:] == pytest.approx(
        [event.loss for event in plain.events()][1:], abs=1e-5
    )
    assert weights(run).keys() == weights(plain).keys()


def test_what_cannot_be_compiled_is_said_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function, **options):
        def fails(*arguments):
            raise RuntimeError("No working C++ compiler found\nmore")

        return fails

    monkeypatch.setattr(torch, "compile", broken)
    cpu = torch.device("cpu")
    check_compilation(make_config(category="any"), cpu)
    with pytest.raises(ConfigError, match=r"\(No working C\+\+ compiler found\)\. Install a C\+\+ compiler"):
        check_compilation(make_config(category="any", compile=True), cpu)


def test_some_trainings_have_no_steps_of_one_shape() -> None:
    cpu = torch.device("cpu")
    with pytest.raises(ConfigError, match="cflow makes steps of its own"):
        check_compilation(make_config(category="any", compile=True, flow={"kind": "cflow"}), cpu)
    with pytest.raises(ConfigError, match="changes from step to step"):
        check_compilation(make_config(category="any", compile=True), cpu, processes=2)
