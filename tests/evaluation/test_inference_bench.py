"""Scoring beside a peer, small: ours for real, the peer a script that answers as a peer would."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from altub.errors import ConfigError, ModelError, RunError
from altub.evaluation.bench import scoring_peer
from altub.evaluation.bench.scoring_peer import BATCHES, InferenceBench
from altub.evaluation.bench.side import PEER_SCRIPT
from altub.runs.run import Run
from tests.conftest import SIDE

pytestmark = pytest.mark.usefixtures("quick_processes")

FAKE = """
import json, sys
job = json.loads(sys.stdin.readline())
assert job["image_size"] == {side} and job["backbone"] == "filter-bank" and job["threads"] == 1
assert job["device"] == "cpu"
assert all(open(path, "rb").read(2) == bytes([255, 216]) for path in job["files"])
print("a library prints what it likes")
print(json.dumps({{"kind": "ready", "flops": 7000}}), flush=True)
for turn, line in enumerate(sys.stdin):
    images = json.loads(line)["images"]
    told = {{"kind": "scored", "images": images, "seconds": 1000.0 * images + turn % 4, "cpu_seconds": 3.0}}
    print(json.dumps(told), flush=True)
"""


@pytest.fixture
def bench(trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Of the filter bank, which a fake peer is told to be a resnet18."""
    monkeypatch.setenv("ALTUB_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("altub.evaluation.bench.side.PEER_BACKBONES", ("filter-bank",))
    monkeypatch.setattr(scoring_peer, "SIDE", 2 * SIDE)
    (tmp_path / "filter-bank.safetensors").touch()
    (tmp_path / "fake.py").write_text(FAKE.format(side=SIDE))
    options = {"threads": 1, "repeats": 3, "device": "cpu"}
    return {"model": trained_run.model_dir, "peer_script": tmp_path / "fake.py", **options}


def test_medians_of_both_sides_are_compared(bench: dict[str, object]) -> None:
    lines: list[str] = []
    found = InferenceBench(**bench, peer_python=Path(sys.executable), tell=lines.append).run()
    json.dumps(found, allow_nan=False)
    assert [row["images"] for row in found["rows"]] == list(BATCHES) and len(lines) == len(BATCHES)
    for row in found["rows"]:
        assert row["peer"]["seconds"] == 1000.0 * row["images"] + 2, "turns 1, 2 and 3; the first is not measured"
        assert row["ratio"] == row["ours"]["seconds"] / row["peer"]["seconds"]
        assert row["cpu_ratio"] == row["ours"]["cpu_seconds"] / 3.0
        assert 0 < row["ours"]["cpu_seconds"] < 60 and row["ratio"] < row["target"] and row["reached"]
        assert row["ours"]["images_per_second"] == row["images"] / row["ours"]["seconds"]
        assert row["peer"]["roofline_share"] == 7000 * row["images"] / row["matmul_rate"] / 3.0
        assert row["ours"]["flops"] == row["images"] * found["rows"][0]["ours"]["flops"] > 0
    assert lines[0].startswith("  1 images: ours") and lines[0].endswith("target 0.50 reached")
    assert "images/s" in lines[0] and "% of the roofline" in lines[0]


def test_without_a_peer_ours_is_measured(bench: dict[str, object]) -> None:
    found = InferenceBench(**bench).run()
    for row in found["rows"]:
        assert row["ours"]["seconds"] > 0 and row["peer"] is None and row["ratio"] is None and row["reached"] is None


def test_what_cannot_be_compared_is_refused(bench: dict[str, object], tmp_path: Path) -> None:
    python = Path(sys.executable)
    with pytest.raises(ConfigError, match="cannot be started"):
        InferenceBench(**bench, peer_python=tmp_path / "nowhere").run()
    (tmp_path / "fake.py").write_text("raise SystemExit('anomalib is too old')")
    with pytest.raises(RunError, match="The peer failed: anomalib is too old"):
        InferenceBench(**bench, peer_python=python).run()
    (tmp_path / "fake.py").write_text(FAKE.format(side=SIDE).replace('"images": images', '"images": images - 1'))
    with pytest.raises(RunError, match="The peer scored 0 of 1 images"):
        InferenceBench(**bench, peer_python=python).run()
    with pytest.raises(ModelError):
        InferenceBench(**bench | {"model": tmp_path}).run()
    (tmp_path / "filter-bank.safetensors").unlink()
    with pytest.raises(ConfigError, match="set ALTUB_WEIGHTS"):
        InferenceBench(**bench, peer_python=python).run()


def test_the_script_of_the_peer_says_what_it_misses(bench: dict[str, object]) -> None:
    if "anomalib" in sys.modules:
        pytest.skip("anomalib is installed here")
    with pytest.raises(RunError, match="The peer failed: ModuleNotFoundError: No module named 'anomalib'"):
        InferenceBench(**bench | {"peer_script": PEER_SCRIPT}, peer_python=Path(sys.executable)).run()
