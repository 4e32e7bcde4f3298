"""ZeroGPU through a fake `spaces` package."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import safetensors.numpy

from altub.runs.run import Run, Status
from altub.training.config import TrainingConfig
from altub.ui.space import zero_gpu_services
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.usefixtures("quick_processes")

SPACE_ENVIRONMENT = {"SYSTEM": "spaces", "SPACE_HOST": "owner-altub.hf.space"}

FAKE_SPACES = """
    import multiprocessing
    CALLS = []

    def GPU(task=None, *, duration=None):
        def decorate(function):
            def call(*arguments):  # a fork for every call: what it changes in memory is lost
                CALLS.append(function.__name__)
                ends, begins = multiprocessing.get_context("fork").Pipe(False)
                def inside():
                    try:
                        begins.send((True, function(*arguments)))
                    except Exception as error:
                        begins.send((False, error))
                process = multiprocessing.get_context("fork").Process(target=inside)
                process.start()
                good, value = ends.recv()
                process.join()
                if not good:
                    raise value
                return value
            return call
        return decorate if task is None else decorate(task)
"""
ZERO_SCRIPT = """
    import sys, threading
    from pathlib import Path
    import spaces
    from altub import settings
    from altub.training.config import TrainingConfig
    from altub.data import read_image
    from altub.files import read_json
    from altub.runs.run import Run
    from altub.ui.space import zero_gpu_services

    services = zero_gpu_services()
    services.launcher.piece = 0.0  # every call makes one step
    config = TrainingConfig.model_validate(read_json(Path(sys.argv[1])))
    run = services.start_training(config, None)
    for thread in threading.enumerate():
        if thread.name.startswith("ZeroGPU"):
            thread.join(150)
    print("state", run.status.state, run.status.message)
    print("calls", spaces.CALLS.count("train_piece"))
    detector = services.models.get(run.model_dir).detector
    prediction = detector.predict(read_image(sys.argv[2]))
    print("maps", spaces.CALLS.count("maps_on_gpu"))
    print("score", prediction.score)
    print("run", run.path)
"""


def test_zero_gpu_trains_in_pieces_and_infers_in_calls(
    tmp_path: Path, trained_run: Run, small_config: TrainingConfig, data_folder: Path
) -> None:
    from altub.inference.detector import AnomalyDetector

    (tmp_path / "fake").mkdir()
    (tmp_path / "fake/spaces.py").write_text(textwrap.dedent(FAKE_SPACES))
    (tmp_path / "script.py").write_text(textwrap.dedent(ZERO_SCRIPT))
    image = next((data_folder / "weave/test/blot").iterdir())
    environment = {**os.environ, **SPACE_ENVIRONMENT, "SPACES_ZERO_GPU": "true", "OMP_NUM_THREADS": "1"}
    environment |= {"ALTUB_RUNS": str(tmp_path / "runs"), "PYTHONPATH": f"{tmp_path / 'fake'}:{REPOSITORY}"}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(trained_run.path / "config.json"), str(image)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert told["state"].strip() == "finished", done.stderr
    assert int(told["calls"]) > 4 and told["maps"] == "1"
    weights = safetensors.numpy.load_file(Path(told["run"]) / "model/model.safetensors")
    expected = safetensors.numpy.load_file(trained_run.model_dir / "model.safetensors")
    assert weights.keys() == expected.keys()
    for name, value in expected.items():  # the pieces together are the training without a break
        assert abs(weights[name] - value).max() < 1e-4, name
    score = AnomalyDetector.load(Path(told["run"]) / "model", "cpu").predict(image).score
    assert float(told["score"]) == pytest.approx(score, rel=1e-4)


def test_without_the_package_there_is_no_zero_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from altub.runs.launchers import zero_gpu as zero

    monkeypatch.setitem(sys.modules, "spaces", None)
    assert zero.gpu_decorator() is None and zero_gpu_services() is None
    monkeypatch.delitem(sys.modules, "spaces")
    monkeypatch.syspath_prepend(str(REPOSITORY))  # our folder of that name is no package of theirs
    sys.modules.pop("spaces", None)
    assert not hasattr(zero.gpu_decorator(), "zerogpu")


def test_what_zero_gpu_says_is_told(tmp_path: Path, small_config: TrainingConfig) -> None:
    from altub.runs.launchers.zero_gpu import ZeroGPULauncher

    def decorate(duration: int):
        def refuse(*arguments: object) -> None:
            raise RuntimeError("You have exceeded your GPU quota")

        return lambda function: refuse

    run = Run.create(tmp_path / "run", small_config)
    ZeroGPULauncher(decorate).train(run)
    status: Status = run.status
    assert status.state == "failed" and "exceeded your GPU quota" in status.message
    assert not run.is_alive()
