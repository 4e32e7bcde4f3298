"""Following a remote run: the job's states, a lost network, a changed mirror, the page's view, Stop; in this process.

The Hub client reads its address at import, so the questions are put by one worker process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from altub.runs.launchers.hf_jobs.link import Data, Link, read_link, write_link
from altub.runs.launchers.hf_jobs.mirror import Mirror
from altub.runs.run import Run, list_runs
from altub.training.config import make_config
from tests.hub.loopback import ANNA, REPOSITORY, Conversation, LoopbackHub
from tests.quick_python import QuickPython

WORKER = """
import json, sys, time
import huggingface_hub.utils._http as http
http.time.sleep = lambda seconds: None  # the client's own waits between its tries
from altub.runs import queue as jobs
from altub.errors import AltUBError
from altub.runs.launchers.base import find_launcher
from altub.runs.run import Run
from altub.ui.train.status import status_card
from altub.ui.watch import RunWatch
followers = {}
for line in sys.stdin:
    what, path = json.loads(line)
    run = Run(path)
    answer = {}
    try:
        if what == "look":
            followers.setdefault(path, find_launcher(run).follower(run)).look()
        elif what == "page":
            watch = RunWatch(run.path.parent)
            until = time.monotonic() + 30
            while watch.view(run.id).is_active and time.monotonic() < until:
                time.sleep(0.05)
            answer["card"] = status_card(watch.view(run.id))
        else:
            getattr(jobs, what)(run)
        status = run.status
        answer |= {"state": status.state, "stage": status.stage, "message": status.message, "epoch": status.epoch}
    except AltUBError as error:
        answer = {"error": str(error)}
    print("@" + json.dumps(answer), flush=True)
"""


class Home:
    """A user's machine, with a runs folder and remote runs whose jobs nobody really runs."""

    def __init__(self, folder: Path, hub: LoopbackHub, trained: Run, python: QuickPython) -> None:
        self.folder, self.hub, self.trained = folder, hub, trained
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "ALTUB_"))}
        clean |= {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "hf"), "HF_TOKEN": ANNA}
        clean |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1", "ALTUB_FOLLOW_SECONDS": "1"}
        self.environment = clean
        self.process = Conversation(python, WORKER, clean)

    def ask(self, what: str, run: Run) -> dict[str, Any]:
        return self.process.ask(what, str(run.path))

    def begin(self, name: str) -> Run:
        """A run whose job was submitted a moment ago."""
        run = Run.create(self.folder / "runs" / name, self.trained.config)
        job = self.hub.add_job()
        self.hub.change(f"anna/{name}", {}, private=True)
        write_link(
            run,
            Link(
                repo=f"anna/{name}",
                job=job,
                namespace="anna",
                url=f"{self.hub.url}/jobs/anna/{job}",
                attempt="first",
                flavor="t4-small",
                timeout="6h",
                data=Data(kind="sample"),
            ),
        )
        return run

    def mirrored(self, attempt: str = "first", **status: Any) -> dict[str, bytes]:
        """What a job uploads that trained as the example run did."""
        files = Mirror(self.trained, lambda files, message: None, attempt).files(large=True)
        progress = json.loads(files["run/progress.json"])
        progress["status"] |= status
        return files | {"run/progress.json": json.dumps(progress).encode()}


@pytest.fixture(scope="module")
def machine(
    loopback_hub: LoopbackHub, quick_python: QuickPython, tmp_path_factory: pytest.TempPathFactory, pushed_run: Run
) -> Iterator[Home]:
    home = Home(tmp_path_factory.mktemp("home"), loopback_hub, pushed_run, quick_python)
    yield home
    home.process.close()


@pytest.fixture
def home(machine: Home, hub: LoopbackHub) -> Home:
    return machine


def test_a_run_from_waiting_to_finished(home: Home, hub: LoopbackHub, pushed_run: Run) -> None:
    run = home.begin("whole")
    assert home.ask("look", run)["state"] == "queued"
    hub.set_job(read_link(run).job, stage="RUNNING")
    assert "installing" in home.ask("look", run)["stage"]
    hub.change("anna/whole", home.mirrored(state="running", epoch=1))
    assert home.ask("look", run) == {"state": "running", "stage": pushed_run.status.stage, "message": "", "epoch": 1}
    assert run.events() == pushed_run.events()
    hub.change("anna/whole", home.mirrored())
    card = home.ask("page", run)["card"]  # the page follows by itself
    assert f'href="{read_link(run).url}"' in card and "Finished" in card and "t4-small" in card
    assert run.status.state == "finished"
    for name in ("model/model.safetensors", "examples/examples.json"):
        assert (run.path / name).read_bytes() == (pushed_run.path / name).read_bytes(), name
    assert not run.checkpoint_file.exists()  # stays in the mirror
    assert not list(run.path.glob(".mirror-*"))
    assert run.id in [found.id for found in list_runs(run.path.parent)]


@pytest.mark.parametrize(
    ("name", "job", "state", "words"),
    [
        ("cancelled", {"stage": "CANCELED"}, "stopped", "was cancelled after epoch 1"),
        ("broken", {"stage": "ERROR", "message": "Exit code 137"}, "failed", "error after epoch 1 (Exit code 137)"),
        ("late", {"stage": "ERROR", "message": "Job timeout"}, "failed", "time limit of 6h"),
        ("deleted", {"stage": "DELETED"}, "failed", "was deleted"),
        ("silent", {"stage": "COMPLETED"}, "failed", "last upload did not arrive"),
    ],
)
def test_a_job_that_ends_otherwise(
    home: Home, hub: LoopbackHub, name: str, job: dict[str, str], state: str, words: str
) -> None:
    run = home.begin(name)
    hub.change(f"anna/{name}", home.mirrored(state="running", epoch=1))
    hub.set_job(read_link(run).job, **job)
    answer = home.ask("look", run)
    assert answer["state"] == state and words in answer["message"] and read_link(run).url in answer["message"]


def test_the_network_goes_and_comes_back(home: Home, hub: LoopbackHub) -> None:
    run = home.begin("dropped")
    hub.set_job(read_link(run).job, stage="RUNNING")
    hub.change("anna/dropped", home.mirrored(state="running", epoch=1))
    for fault in ({"status_jobs": 1, "job_status": 503}, {"truncate": 100}, {"status": 502}):
        hub.fault(**fault)
        answer = home.ask("look", run)
        assert answer["state"] == "queued" and answer["message"], fault
        assert not (run.path / "events.jsonl").exists() and not list(run.path.glob(".mirror-*"))
    hub.fault()
    answer = home.ask("look", run)
    assert answer["state"] == "running" and not answer["message"] and run.events()


@pytest.mark.parametrize("case", ["path", "large", "model", "maps", "status"])
def test_a_changed_mirror_is_not_taken(home: Home, hub: LoopbackHub, case: str) -> None:
    run = home.begin(f"changed-{case}")
    hub.set_job(read_link(run).job, stage="RUNNING")
    files = home.mirrored(state="running")
    example = next(name for name in files if name.startswith("run/examples/"))
    change = {
        "path": {},
        "large": {"run/progress.json": b" " * (2 << 20)},
        "model": {"run/model/model.safetensors": b"other weights"},
        "maps": {example: b"no archive"},
        "status": {"run/progress.json": b'{"attempt": 7}'},
    }[case]
    hub.change(f"anna/changed-{case}", files | change)
    if case == "path":
        hub.fault(list=["run/examples/../../x"])
    answer = home.ask("look", run)
    assert answer["state"] == "failed", answer
    assert (
        "was taken" in answer["message"] or "following has ended" in answer["message"] or "larger" in answer["message"]
    )
    assert not run.model_dir.exists() and not list(run.path.glob(".mirror-*"))


def test_images_are_only_looked_up_by_name(home: Home, hub: LoopbackHub) -> None:
    run = home.begin("names")
    files = home.mirrored()
    progress = json.loads(files["run/progress.json"])
    progress["examples"][0]["name"] = "/etc/hostname"
    hub.change("anna/names", files | {"run/progress.json": json.dumps(progress).encode()})
    assert home.ask("look", run)["state"] == "finished"
    assert not (run.examples_dir / "examples.json").exists()


def test_stop_cancels_and_resume_begins_a_new_job(home: Home, hub: LoopbackHub) -> None:
    run = home.begin("again")
    old = read_link(run)
    hub.set_job(old.job, stage="RUNNING")
    hub.change("anna/again", home.mirrored(state="running", epoch=1))
    assert "queued already" in home.ask("resume", run)["error"]
    assert home.ask("stop", run)["state"] == "stopped"
    assert hub.state()["jobs"][old.job]["stage"] == "CANCELED"
    assert home.ask("resume", run)["state"] == "queued"
    new = read_link(run)
    assert new.job != old.job and new.attempt != old.attempt
    assert json.loads(hub.files("anna/again")["job/request.json"])["resume"] is True
    # What the mirror says of the job before is over.
    assert home.ask("look", run)["state"] in ("queued", "running")


def test_an_upload_that_fails_is_tried_again(pushed_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    commits: list[dict[str, bytes]] = []
    faults = [ConnectionError("gone"), RuntimeError("a bug of the client")]

    def commit(files: dict[str, bytes], message: str) -> None:
        if faults:
            raise faults.pop(0)
        commits.append(files)

    mirror = Mirror(pushed_run, commit, "first")
    assert not mirror.upload(large=False) and not mirror.upload(large=False) and not commits
    assert mirror.upload(large=False) and "run/progress.json" in commits[0]
    assert "run/state/state.safetensors" not in commits[0]
    assert mirror.upload(large=False) and len(commits) == 1  # nothing new, no commit
    assert mirror.upload(large=True) and set(commits[1]) == {
        *("run/model/config.json", "run/model/model.safetensors"),
        *(f"run/state/{name}" for name in ("state.safetensors", "base_history.npz", "events.jsonl", "config.json")),
    }
    assert "ConnectionError" in capsys.readouterr().err


def test_a_remote_run_takes_no_turn_of_this_machine(home: Home) -> None:
    from altub.runs import queue as jobs

    remote = home.begin("elsewhere")
    status = remote.read_status()
    status.state = "running"
    remote.write_status(status)
    assert remote.status.state == "running"  # though no process holds it
    local = Run.create(remote.path.parent / "here", make_config(category="weave"))
    assert jobs.position_in_queue(local) == 0


def test_ctrl_c_detaches_and_says_how_to_go_on(home: Home, hub: LoopbackHub, quick_python: QuickPython) -> None:
    run = home.begin("detached")
    job = read_link(run).job
    environment = {**home.environment, "ALTUB_FOLLOW_SECONDS": "600"}
    follow = ("-m", "altub", "follow", str(run.path))
    process = quick_python.start(follow, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while not any(f"/api/jobs/anna/{job}" in line for line in hub.state()["log"]) and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the training continues" in said and f"altub stop {run.path}" in said
    assert hub.state()["jobs"][job]["stage"] == "SCHEDULING" and run.status.state == "queued"
