"""Hugging Face Jobs as a launcher. What needs the Hub's client is imported when it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from altub.errors import RunError
from altub.runs.launchers.base import Follower, Place
from altub.runs.launchers.hf_jobs.link import read_link
from altub.runs.run import Run

if TYPE_CHECKING:
    from altub.hub.fetch import Report
    from altub.runs.launchers.hf_jobs.link import Data

__all__ = ["HfJobsLauncher"]

FLAVOR, TIMEOUT = "a10g-small", "6h"


@dataclass(frozen=True)
class HfJobsLauncher:
    """Trains runs as jobs; every job mirrors its run directory to a private repo.

    Attributes:
        data: where the job finds the images (see `submit.data_kind`); needed to start, a resumed run keeps its own.
        flavor: hardware, as Hugging Face Jobs name it; None: the last job's, or a10g-small.
        timeout: of the job, such as "90m"; None: the last job's, or 6h.
        mirror: "user/name" of the mirror repo; None: a new one.
        report: told what is being done.
    """

    data: Data | None = None
    flavor: str | None = None
    timeout: str | None = None
    mirror: str | None = None
    report: Report | None = None

    is_local = False

    def prepare(self) -> None:
        pass  # a job costs from its first second

    def start(self, run: Run) -> None:
        from altub.runs.launchers.hf_jobs.submit import submit

        if self.data is None:
            raise RunError("A job needs to know where its images are: give the launcher its data.")
        submit(
            run,
            data=self.data,
            flavor=self.flavor or FLAVOR,
            timeout=self.timeout or TIMEOUT,
            mirror=self.mirror,
            report=self.report,
        )

    def resume(self, run: Run) -> None:
        from altub.runs.launchers.hf_jobs.submit import submit_again

        submit_again(run, flavor=self.flavor, timeout=self.timeout, report=self.report)

    def stop(self, run: Run) -> str:
        from altub.runs.launchers.hf_jobs.follow import cancel

        cancel(run)
        return "The job was cancelled; its mirror is kept."

    def place(self, run: Run) -> Place:
        link = read_link(run)
        site = link.url.split("/jobs/")[0]
        return Place(
            "Hugging Face Jobs", link.flavor, (("job", link.url), (f"mirror {link.repo}", f"{site}/{link.repo}"))
        )

    def follower(self, run: Run) -> Follower:
        from altub.runs.launchers.hf_jobs.follow import JobFollower

        return JobFollower(run)
