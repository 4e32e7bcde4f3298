"""Which launcher trains a run, and what all of them can be asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from altub.errors import RunError
from altub.runs import queue as jobs
from altub.runs.launchers import base
from altub.runs.launchers.base import LocalLauncher, find_launcher, make_launcher, register_launcher
from altub.runs.launchers.hf_jobs import HfJobsLauncher, Link
from altub.runs.launchers.hf_jobs.link import Data, write_link
from altub.runs.launchers.process import ProcessLauncher
from altub.runs.run import LAUNCHER_FILES, Run, Status
from altub.training.config import make_config

CONFIG = make_config(category="weave")
LINK = Link(
    repo="anna/mirror",
    job="j1",
    namespace="anna",
    url="https://hub.example/jobs/anna/j1",
    attempt="first",
    flavor="t4-small",
    timeout="6h",
    data=Data(kind="sample"),
)


class Recorded(LocalLauncher):
    """Notes what it should start."""

    def __init__(self) -> None:
        self.started: list[Run] = []

    def start(self, run: Run) -> None:
        self.started.append(run)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "weave", CONFIG)


def test_processes_train_what_nothing_else_does(run: Run) -> None:
    launcher = find_launcher(run)
    assert isinstance(launcher, ProcessLauncher) and launcher.is_local
    assert launcher.place(run) is None and launcher.follower(run) is None


def test_a_default_takes_the_runs_of_this_machine_only(run: Run) -> None:
    default = Recorded()
    assert find_launcher(run, default) is default
    write_link(run, LINK)
    assert isinstance(find_launcher(run, default), HfJobsLauncher)


def test_a_job_says_where_it_is(run: Run) -> None:
    write_link(run, LINK)
    launcher = find_launcher(run)
    place = launcher.place(run)
    assert (place.name, place.detail, launcher.is_local) == ("Hugging Face Jobs", "t4-small", False)
    assert [address for _, address in place.links] == [LINK.url, "https://hub.example/anna/mirror"]
    assert run.has_progress  # what a resume continues from lies in the mirror
    (run.path / "remote.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        find_launcher(run).place(run)


def test_every_marked_launcher_can_be_made() -> None:
    for name in ("process", *LAUNCHER_FILES.values()):
        launcher = make_launcher(name)
        assert all(callable(getattr(launcher, part)) for part in ("start", "resume", "stop", "place", "follower"))
    with pytest.raises(RunError, match="no launcher 'cloud'"):
        make_launcher("cloud")


def test_a_launcher_of_ones_own_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_CLASSES", dict(base._CLASSES))
    register_launcher("mine", f"{__name__}:Recorded")
    assert isinstance(make_launcher("mine"), Recorded)


def test_start_stop_and_resume_go_to_the_given_launcher(tmp_path: Path) -> None:
    launcher = Recorded()
    run = jobs.start(CONFIG, tmp_path, launcher)
    assert launcher.started == [run]
    assert "nothing is lost" in jobs.stop(run) and run.stop_requested()
    run.write_status(Status(state="stopped", epoch=2, message="Stopped."))
    jobs.resume(run, launcher)
    assert launcher.started == [run, run] and not run.stop_requested()
    assert (run.read_status().state, run.read_status().epoch) == ("queued", 2)
