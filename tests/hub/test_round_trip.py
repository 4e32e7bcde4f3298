"""Train, push, pull in another process with an empty cache, predict the same; and what must not happen on the way.

The real huggingface_hub does the talking, in processes of its own.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from altub.runs.run import Run
from tests.hub.loopback import ANNA, Client, LoopbackHub

PREDICT = """
import sys, numpy as np
from altub import AnomalyDetector
detector = AnomalyDetector.from_pretrained(sys.argv[1], device="cpu")
prediction = detector.predict(sys.argv[2])
np.savez("out.npz", map=prediction.anomaly_map, score=prediction.score, p=prediction.p_value)
"""


def _push(client: Client, run: Run | Path, repo: str, *more: str) -> dict:
    model = run.model_dir if isinstance(run, Run) else run
    done = client.altub("push", "--model", str(model), "--repo", repo, "--json", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def bare_model(pushed_run: Run, tmp_path: Path) -> Path:
    """A model without the run that it comes from: no curves to push, no pictures to draw."""
    return shutil.copytree(pushed_run.model_dir, tmp_path / "bare")


def test_round_trip_predicts_the_same_bit_for_bit(
    hub: LoopbackHub, anna: Client, stranger: Client, pushed_run: Run, data_folder: Path
) -> None:
    result = _push(anna, pushed_run, "anna/weave", "--licence", "mit")
    assert result["url"] == f"{hub.url}/anna/weave/commit/{result['commit']}"
    assert result["commit"] == hub.state()["repos"]["anna/weave"]["branches"]["main"]
    assert len(hub.commits("anna/weave")) == 2  # the empty repo's, and ours
    files = hub.files("anna/weave")
    assert files["model.safetensors"] == (pushed_run.model_dir / "model.safetensors").read_bytes()
    assert not [name for name in files if "example" in name]

    photo = data_folder / "weave/test/blot/000.png"
    done = stranger.run("-c", PREDICT, "anna/weave", str(photo))
    assert done.returncode == 0, done.stderr
    # The same in the process of the one who trained it: sums depend on the number of threads in their last bit.
    assert anna.run("-c", PREDICT, str(pushed_run.model_dir), str(photo)).returncode == 0
    with np.load(stranger.home / "out.npz") as there, np.load(anna.home / "out.npz") as here:
        for name in ("map", "score", "p"):
            np.testing.assert_array_equal(there[name], here[name])

    done = stranger.altub("pull", f"anna/weave@{result['commit']}", "--run-dir", "pulled/weave")
    assert done.returncode == 0, done.stderr
    run = Run.open(stranger.home / "pulled/weave")
    assert run.status.state == "finished" and result["commit"][:7] in run.status.message
    assert run.events() == pushed_run.events()
    for (mean, spread), (mean_there, spread_there) in zip(pushed_run.base_history(), run.base_history(), strict=True):
        np.testing.assert_allclose(mean_there, mean, atol=1e-5)
        np.testing.assert_allclose(spread_there, spread, atol=1e-5)
    assert run.config.backbone == "filter-bank" and run.config.category == "weave"
    assert sorted(path.name for path in run.model_dir.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert [path.name for path in (stranger.home / "pulled").iterdir()] == ["weave"]  # nothing half beside it

    # Without a Hub, from the cache: the commit that the branch was.
    for offline_by in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
        offline = stranger.altub("pull", "anna/weave", "--run-dir", next(iter(offline_by)), **offline_by)
        assert offline.returncode == 0, offline.stderr
        assert "from the cache" in offline.stderr


def test_the_card_tells_the_hub_what_it_is(hub: LoopbackHub, anna: Client, pushed_run: Run) -> None:
    _push(anna, pushed_run, "anna/card", "--licence", "cc-by-nc-sa-4.0", "--include-examples")
    files = hub.files("anna/card")
    front = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert front["library_name"] == "altub" and front["pipeline_tag"] == "image-segmentation"
    assert front["license"] == "cc-by-nc-sa-4.0" and {"altub", "anomaly-detection"} <= set(front["tags"])
    measured = pushed_run.events()[-1].test
    metrics = {m["name"]: m["value"] for m in front["model-index"][0]["results"][0]["metrics"]}
    assert metrics["pixel AUROC"] == round(measured.pixel_auroc, 4)
    for name in ("training.png", "drift.png", "examples.png"):
        assert files[name].startswith(b"\x89PNG") and f"({name})" in files["README.md"].decode()
    # No folder of the machine that trained it.
    assert str(pushed_run.path.parent).encode() not in b"".join(files.values())
    assert pushed_run.config.data.encode() not in b"".join(files.values())


def test_second_push_sends_what_changed_and_keeps_an_edited_card(
    hub: LoopbackHub, anna: Client, narrow_run: Run
) -> None:
    first = _push(anna, narrow_run, "anna/again")
    again = _push(anna, narrow_run, "anna/again")
    assert not again["changed"] and again["commit"] == first["commit"]

    relicensed = _push(anna, narrow_run, "anna/again", "--licence", "mit")
    before, after = (hub.state()["repos"]["anna/again"]["commits"][c["commit"]] for c in (first, relicensed))
    assert {name for name in after if after[name] != before.get(name)} == {"README.md", "config.json"}

    edited = hub.files("anna/again")["README.md"] + b"\nEdited on the Hub.\n"
    hub.change("anna/again", {"README.md": edited})
    third = _push(anna, narrow_run, "anna/again", "--licence", "apache-2.0")
    assert third["card_kept"]
    assert hub.files("anna/again")["README.md"] == edited


def test_private_stays_private(hub: LoopbackHub, anna: Client, stranger: Client, bare_model: Path) -> None:
    _push(anna, bare_model, "anna/secret", "--private")
    assert hub.state()["repos"]["anna/secret"]["private"] is True
    done = stranger.altub("pull", "anna/secret", "--run-dir", "secret")
    assert done.returncode == 2 and "private" in done.stderr and not (stranger.home / "secret").exists()
    hub.change("anna/public")
    done = anna.altub("push", "--model", str(bare_model), "--repo", "anna/public", "--private")
    assert done.returncode == 2 and "is public" in done.stderr
    assert len(hub.commits("anna/public")) == 1


def test_the_token_is_nowhere_but_in_requests(hub: LoopbackHub, anna: Client, narrow_run: Run) -> None:
    _push(anna, narrow_run, "anna/tokens")
    done = anna.altub("pull", "anna/tokens", "--run-dir", "runs/tokens", HF_DEBUG="1", HF_HUB_VERBOSITY="debug")
    assert done.returncode == 0, done.stderr
    hub.fault(status=401)
    assert anna.altub("push", "--model", str(narrow_run.model_dir), "--repo", "anna/tokens").returncode == 2
    assert ANNA not in anna.logged
    for folder in (anna.home, narrow_run.path):
        for file in folder.rglob("*"):
            if file.is_file():
                assert ANNA.encode() not in file.read_bytes(), file


def test_push_to_a_branch(hub: LoopbackHub, anna: Client, bare_model: Path) -> None:
    _push(anna, bare_model, "anna/branches", "--revision", "trial", "--message", "First trial")
    assert "model.safetensors" in hub.files("anna/branches", "trial")
    assert "model.safetensors" not in hub.files("anna/branches")


def test_pull_into_a_run_that_is_there(hub: LoopbackHub, anna: Client, narrow_run: Run) -> None:
    _push(anna, narrow_run, "anna/there")
    weights = anna.home / "run/model/model.safetensors"
    for changed in (None, False, True):  # since the pull before
        if changed:
            hub.change("anna/there", {"notes.txt": b"x"})
        done = anna.altub("pull", "anna/there", "--run-dir", "run")
        assert done.returncode == (2 if changed else 0), done.stderr
        assert weights.read_bytes() == (narrow_run.model_dir / "model.safetensors").read_bytes()
