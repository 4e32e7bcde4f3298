"""The registry of flows: what is built in, what may be registered, and a flow of one's own from training to loading."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from altub import AnomalyDetector, Run, TrainingConfig, make_config, train
from altub.errors import ConfigError, ModelError, RunError
from altub.flows import CFlowHead, FastFlowHead, FlowConfig, FlowHead, create_head, flow_names, register_flow
from altub.flows.registry import ALWAYS_USED, find_flow, flow_title, get_flow
from tests.conftest import REPOSITORY
from tests.flows.own import OWN, OwnHead, registered_flow


def test_built_in_kinds_with_their_papers() -> None:
    assert flow_names()[:2] == ("fastflow", "cflow")
    assert [(get_flow(name).title, get_flow(name).paper.arxiv) for name in ("fastflow", "cflow")] == [
        ("FastFlow", "2111.07677"),
        ("CFLOW-AD", "2107.12571"),
    ]
    assert get_flow("cflow").paper.url == "https://arxiv.org/abs/2107.12571"
    assert isinstance(create_head(FlowConfig(), (4, 2, 2)), FastFlowHead)
    assert isinstance(create_head(FlowConfig(kind="cflow"), (4, 2, 2)), CFlowHead)
    assert find_flow("glow") is None and flow_title("glow") == "glow"


def test_settings_of_a_kind_are_fields_of_the_configuration() -> None:
    used = set()
    for name in ("fastflow", "cflow"):
        info = get_flow(name)
        assert info.settings <= set(FlowConfig.model_fields) and set(info.defaults) <= info.settings
        assert set(info.training) <= set(TrainingConfig.model_fields)
        assert info.uses("norm") and info.uses("kind")
        used |= info.settings
    assert used | ALWAYS_USED == set(FlowConfig.model_fields), "every setting matters to someone"
    assert get_flow("fastflow").uses("kernels") and not get_flow("cflow").uses("kernels")


def test_settings_need_no_torch() -> None:
    program = (
        "import sys, altub.flows\n"
        "from altub.flows.config import FlowConfig\n"
        "from altub.flows.registry import flow_names, get_flow\n"
        "assert [get_flow(name).usual_lr for name in flow_names()] == [5e-4, 1e-3]\n"
        "FlowConfig(kind='cflow')\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["", "My Flow", "-x", "a/b", "x" * 65])
def test_an_unusable_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a flow"):
        register_flow(name, OwnHead)


def test_only_heads_are_registered_and_names_are_not_taken_twice() -> None:
    with pytest.raises(ConfigError, match=r"derive a class from altub\.flows\.FlowHead"):
        register_flow("mine", nn.Linear)
    with pytest.raises(ConfigError, match="already"):
        register_flow("fastflow", OwnHead)
    with registered_flow():
        register_flow(OWN, OwnHead, title="Again")  # a notebook's cell that is run twice
        assert get_flow(OWN).title == "Again"

        class Other(OwnHead):
            pass

        with pytest.raises(ConfigError, match="replace=True"):
            register_flow(OWN, Other)
        assert issubclass(register_flow(OWN, Other, replace=True).head_class(), FlowHead)


def test_defaults_and_checks_of_a_kind_are_followed() -> None:
    def check(config: FlowConfig) -> None:
        if config.steps % 2:
            raise ValueError("steps must be even")

    with registered_flow():
        register_flow(OWN, OwnHead, defaults={"steps": 4}, training={"epochs": 3}, check=check)
        config = make_config(category="x", flow={"kind": OWN})
        assert (config.flow.steps, config.epochs) == (4, 3)
        with pytest.raises(ConfigError, match="must be even"):
            make_config(category="x", flow={"kind": OWN, "steps": 3})


def test_an_unknown_kind_is_an_error_that_names_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"no flow 'glow'.*fastflow, cflow.*register_flow"):
        make_config(category="x", flow={"kind": "glow"})
    with pytest.raises(ValueError, match="register_flow"):
        FlowConfig(kind="glow")


def test_options_are_written_only_where_there_are_some() -> None:
    assert "options" not in FlowConfig().model_dump(mode="json"), "older versions do not know the field"
    assert FlowConfig(options={"slope": 2}).model_dump(mode="json")["options"] == {"slope": 2}


def test_a_flow_of_ones_own_is_trained_saved_and_loaded(
    small_config: TrainingConfig, data_folder: Path, tmp_path: Path
) -> None:
    settings = {**small_config.model_dump(), "epochs": 3, "lr": None}
    flow = {"kind": OWN, "norm": "whiten", "options": {"slope": 0.5}}
    with registered_flow():
        run = Run.create(tmp_path / "run", make_config(**{**settings, "flow": flow}))
        for _ in train(run):
            pass
        losses = [event.loss for event in run.events()]
        assert losses[-1] < losses[0]
        detector = AnomalyDetector.load(run.model_dir, "cpu")
        assert isinstance(detector.pyramid.heads[0], OwnHead) and detector.pyramid.heads[0].slope == 0.5
        assert "My flow" in (run.model_dir / "README.md").read_text()
        again = AnomalyDetector.load(detector.save(tmp_path / "copy"), "cpu")
        image = next(data_folder.rglob("*.png"))
        assert np.array_equal(detector.predict(image).anomaly_map, again.predict(image).anomaly_map)
    with pytest.raises(ModelError, match=rf"{OWN}.*register_flow"):
        AnomalyDetector.load(run.model_dir, "cpu")
    with pytest.raises(RunError, match="register_flow"):
        _ = run.config
