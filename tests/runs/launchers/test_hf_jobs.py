"""A training on Hugging Face Jobs against the loopback Hub: the request, the token, the job's own command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from altub.runs.run import Run
from tests.hub.loopback import ANNA, REPOSITORY, Client, LoopbackHub

FLOW = ("--set", "flow.steps=1", "--set", "flow.hidden_ratio=0.5", "--set", "flow.norm=layer")
SMALL = ("--backbone", "filter-bank", "--image-size", "64", "--epochs", "2", "--device", "cpu", *FLOW)
ON = ("--on", "hf-jobs")

PREDICT = """
import sys, numpy as np
from altub import AnomalyDetector
prediction = AnomalyDetector.load(sys.argv[1], "cpu").predict(sys.argv[2])
np.savez(sys.argv[3], map=prediction.anomaly_map, score=prediction.score)
"""


def _submit(client: Client, data: Path | str, run_dir: str, *more: str) -> subprocess.CompletedProcess[str]:
    return client.altub(
        "train", "--run-dir", run_dir, "--data", str(data), "--category", "weave", *SMALL, *ON, "--detach", *more
    )


def _link(client: Client, run_dir: str) -> dict[str, Any]:
    return json.loads((client.home / run_dir / "remote.json").read_text())


def _run_job(
    hub: LoopbackHub, client: Client, job: str, begun: list[str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What the service does: the command, as it was sent, on a machine of its own with the secrets as environment.

    Args:
        begun: the command of an earlier job. This one's must have the same beginning and the same source, which were
            seen to work then: it begins with what they start, in a fork.
    """
    request = hub.state()["jobs"][job]["request"]
    command = request["command"]
    hub.set_job(job, stage="RUNNING")
    machine = client.home / f"machine-{job}"
    (machine / "tmp").mkdir(parents=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "ALTUB_", "PYTHON"))}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(machine / "hf")}
    environment |= {"OMP_NUM_THREADS": "1", "TMPDIR": str(machine / "tmp"), "PIP_NO_INDEX": "1"}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment |= request["environment"] | request["secrets"]
    if begun is None:
        done = subprocess.run(command, cwd=machine, env=environment, capture_output=True, text=True)
    else:
        *beginning, repo, commit, source = command
        assert [*beginning, repo, source] == [*begun[:-2], begun[-1]]
        mirror = ("-m", "altub.runs.launchers.hf_jobs.mirror", repo, commit, str(time.time()))
        done = client.python.run(mirror, machine, environment | {"PYTHONPATH": str(REPOSITORY)})
    hub.set_job(job, stage="COMPLETED" if done.returncode == 0 else "ERROR")
    return done


@pytest.fixture
def submitted(hub: LoopbackHub, anna: Client, data_folder: Path) -> dict[str, Any]:
    done = _submit(anna, data_folder, "runs/weave", "--upload-data", "--mirror", f"anna/m-{anna.home.parent.name}")
    assert done.returncode == 0, done.stderr
    return _link(anna, "runs/weave")


def test_the_request_and_where_the_token_is(hub: LoopbackHub, anna: Client, submitted: dict, data_folder: Path) -> None:
    request = hub.state()["jobs"][submitted["job"]]["request"]
    assert request["flavor"] == "a10g-small" and request["timeoutSeconds"] == 6 * 3600
    assert request["secrets"] == {"HF_TOKEN": ANNA}
    assert ANNA not in json.dumps({key: value for key, value in request.items() if key != "secrets"})
    assert request["environment"] == {}
    repos = hub.state()["repos"]
    assert repos[submitted["repo"]]["private"] and repos[f"datasets/{submitted['repo']}-data"]["private"]
    everything = {**hub.files(submitted["repo"]), **hub.files(f"datasets/{submitted['repo']}-data")}
    asked = json.loads(everything["job/request.json"])
    assert asked["config"]["category"] == "weave" and asked["config"]["epochs"] == 2
    for secret in (ANNA.encode(), str(data_folder).encode(), str(anna.home).encode()):
        for name, content in everything.items():
            assert secret not in content, name
    assert not [path for path in anna.home.rglob("*") if path.is_file() and ANNA.encode() in path.read_bytes()]
    assert ANNA not in anna.logged
    assert Run.open(anna.home / "runs/weave").status.state == "queued"


def test_the_jobs_own_command_gives_a_run_that_predicts_the_same(
    hub: LoopbackHub, anna: Client, submitted: dict, data_folder: Path
) -> None:
    job = _run_job(hub, anna, submitted["job"])
    assert job.returncode == 0, job.stderr
    assert ANNA not in job.stdout + job.stderr
    done = anna.altub("follow", "runs/weave", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    run = Run.open(anna.home / "runs/weave")
    assert run.status.state == "finished" and result["epochs"] == 2
    assert result["last"]["pixel_auroc"] == run.events()[-1].test.pixel_auroc
    mirrored = hub.files(submitted["repo"])
    assert not [path for path in mirrored if path.endswith((".png", ".log"))]
    assert ANNA.encode() not in b"".join(mirrored.values())
    for image in json.loads((run.examples_dir / "examples.json").read_text())["images"]:
        assert Path(image["path"]).is_relative_to(data_folder) and Path(image["path"]).is_file()

    # The same training here.
    local = anna.altub("train", "--run-dir", "local", "--data", str(data_folder), "--category", "weave", *SMALL)
    assert local.returncode == 0, local.stderr
    assert [event.loss for event in Run(anna.home / "local").events()] == [event.loss for event in run.events()]
    photo = str(data_folder / "weave/test/blot/000.png")
    for name in ("runs/weave", "local"):
        out = f"{name.replace('/', '-')}.npz"
        assert anna.run("-c", PREDICT, f"{name}/model", photo, out).returncode == 0
    with np.load(anna.home / "runs-weave.npz") as there, np.load(anna.home / "local.npz") as here:
        np.testing.assert_array_equal(there["map"], here["map"])
        assert there["score"] == here["score"]

    # More epochs: a new job goes on from the mirror's state.
    more = anna.altub("train", "--run-dir", "runs/weave", "--resume", *ON, "--epochs", "3", "--detach")
    assert more.returncode == 0, more.stderr
    second = _link(anna, "runs/weave")
    assert second["job"] != submitted["job"] and second["repo"] == submitted["repo"]
    assert Run.open(anna.home / "runs/weave").status.state == "queued"
    job = _run_job(hub, anna, second["job"], begun=hub.state()["jobs"][submitted["job"]]["request"]["command"])
    assert job.returncode == 0, job.stderr
    assert anna.altub("follow", "runs/weave").returncode == 0
    events = Run.open(anna.home / "runs/weave").events()
    assert [event.epoch for event in events] == [1, 2, 3]
    assert [event.loss for event in events[:2]] == [event.loss for event in Run(anna.home / "local").events()]


def test_what_cannot_be_submitted_is_said(hub: LoopbackHub, anna: Client, stranger: Client, data_folder: Path) -> None:
    jobs = len(hub.state()["jobs"])
    hub.change("anna/open", {})
    hub.change("anna/full", {"notes.txt": b"x"}, private=True)
    cases = [
        (anna, ("--flavor", "t4-small"), "--upload-data"),
        (anna, ("--upload-data", "--mirror", "anna/open"), "is public"),
        (anna, ("--upload-data", "--mirror", "anna/full"), "is not empty"),
        (anna, ("--upload-data", "--mirror", "ben/other"), "no right"),
        (anna, ("--upload-data", "--timeout", "soon"), "time limit"),
        (stranger, ("--upload-data",), "Not signed in to Hugging Face"),
    ]
    for number, (client, more, words) in enumerate(cases):
        done = _submit(client, data_folder, f"case-{number}", *more)
        assert done.returncode == 2 and words in done.stderr, (more, done.stderr)
        assert not (client.home / f"case-{number}/remote.json").exists()
    hub.fault(status_jobs=1, job_status=402)
    done = _submit(anna, data_folder, "unpaid", "--upload-data", "--mirror", "anna/unpaid")
    assert done.returncode == 2 and "paid" in done.stderr
    status = Run.open(anna.home / "unpaid").read_status()
    assert status.state == "failed" and "paid" in status.message
    done = anna.altub("train", "--run-dir", "x", "--data", "mvtec-ad", "--category", "bottle", *ON)
    assert done.returncode == 2 and "--accept-licence" in done.stderr
    assert len(hub.state()["jobs"]) == jobs
