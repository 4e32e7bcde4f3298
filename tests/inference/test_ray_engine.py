"""Scoring on Ray: the table of one process, also after a kill; and its errors in words.

What needs Ray itself skips where it is not installed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from altub.errors import ConfigError, ModelError, RunError
from altub.inference.detector import AnomalyDetector
from altub.inference.exports import PredictionWriter
from altub.inference.folder import ChunkPredictor, Job, in_threads
from altub.inference.journal import JOURNAL
from altub.inference.ray_engine import RayEngine, Worker, _unpacked
from altub.runs.run import Run
from tests.conftest import REPOSITORY
from tests.inference.pictures import write_pictures

IMAGES = 240


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "in", IMAGES)


def without_ray(monkeypatch: pytest.MonkeyPatch, **cluster: float) -> None:
    """Ray as far as the engine asks how large the cluster is."""
    fake = SimpleNamespace(cluster_resources=lambda: cluster)
    monkeypatch.setattr("altub.inference.ray_engine._library", lambda name: fake)


def work(model: Path, folder: Path) -> dict[str, object]:
    """What the engine tells its workers."""
    engine = RayEngine(model, device="cpu")
    detector = AnomalyDetector.load(model, "cpu")
    writer = PredictionWriter(folder, detector.require_calibration(), detector.threshold, maps="png")
    return engine._work(ChunkPredictor(detector, writer))


@pytest.mark.slow
def test_a_killed_prediction_on_ray_goes_on_and_ends_with_the_table_of_one_process(
    trained_run: Run, pictures: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray.data", reason="the extra ray is not installed")
    out, whole = tmp_path / "ray", tmp_path / "whole"
    command = [sys.executable, "-m", "altub", "predict", os.path.relpath(pictures, REPOSITORY), "--device", "cpu"]
    command += ["--model", os.path.relpath(trained_run.model_dir, REPOSITORY), "--overlays", "none"]
    on_ray = [*command, "--output", os.path.relpath(out, REPOSITORY), "--on", "ray", "--workers", "2"]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # as a worker has: the same sums in the same order
    process = subprocess.Popen(on_ray, cwd=REPOSITORY, env=one_thread)
    while process.poll() is None and (not (out / JOURNAL).exists() or (out / JOURNAL).read_bytes().count(b"\n") < 3):
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 3 <= (out / JOURNAL).read_bytes().count(b"\n") < IMAGES // 8 and not (out / "predictions.csv").exists()

    ended = subprocess.run(on_ray, cwd=REPOSITORY, env=one_thread, capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0 and f"of {IMAGES} images were done before" in ended.stderr, ended.stderr
    assert not (out / JOURNAL).exists()
    subprocess.run([*command, "--output", str(whole)], cwd=REPOSITORY, env=one_thread, check=True, timeout=500)
    assert (out / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    files = {path.relative_to(whole) for path in whole.rglob("*.*")}
    assert len(files) == 2 * (IMAGES - 1) + 1 and {path.relative_to(out) for path in out.rglob("*.*")} == files


def test_a_worker_gives_the_rows_of_one_process(
    trained_run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ray(monkeypatch)
    jobs = [Job(path, f"{path.parent.name}-{path.stem}") for path in sorted(pictures.rglob("*.png"))[110:130]]
    detector = AnomalyDetector.load(trained_run.model_dir, "cpu", for_scoring=True)
    writer = PredictionWriter(tmp_path / "a", detector.require_calibration(), detector.threshold, maps="png")
    expected = [entry for done in in_threads(jobs, ChunkPredictor(detector, writer)) for entry in done]

    worker = Worker(json.dumps(work(trained_run.model_dir, tmp_path / "b")))
    items = [json.dumps([str(job.path), job.name]) for job in jobs]
    results = worker({"item": items[:9]})["result"] + worker({"item": items[9:]})["result"]
    assert [entry for one in results for entry in _unpacked(json.loads(one))] == expected
    written = [
        sorted(path.relative_to(root) for path in root.rglob("*.*")) for root in (tmp_path / "a", tmp_path / "b")
    ]
    assert written[0] == written[1] and len(written[0]) == 3 * 19, "and its pictures, but no table"


def test_what_a_worker_cannot_do_is_said_by_the_asking_process(
    trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ray(monkeypatch)
    known = work(trained_run.model_dir, tmp_path)

    def error(**changed: object) -> object:
        (result,) = Worker(json.dumps(known | changed))({"item": [json.dumps(["a.png", "a"])]})["result"]
        return json.loads(result)

    with pytest.raises(RunError, match=r"has no folder .* must be at the same paths on every machine"):
        _unpacked(error(here=str(tmp_path / "nowhere")))
    with pytest.raises(ModelError, match="is another one"):
        _unpacked(error(fingerprint="other"))
    with pytest.raises(ModelError):
        _unpacked(error(model=str(tmp_path / "nowhere")))


def test_workers_take_what_the_cluster_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_ray(monkeypatch, CPU=8.0)
    assert RayEngine(tmp_path)._size() == (8, {"num_cpus": 1})
    assert RayEngine(tmp_path, workers=3)._size() == (3, {"num_cpus": 1})
    with pytest.raises(ConfigError, match="8 cores, too few for 9 workers"):
        RayEngine(tmp_path, workers=9)._size()
    with pytest.raises(ConfigError, match="0 GPUs"):
        RayEngine(tmp_path, device="cuda:1")._size()
    without_ray(monkeypatch, CPU=8.0, GPU=2.0)
    assert RayEngine(tmp_path)._size() == (2, {"num_cpus": 1, "num_gpus": 1})
    assert RayEngine(tmp_path, device="cpu")._size() == (8, {"num_cpus": 1})
