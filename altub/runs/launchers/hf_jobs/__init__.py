"""Trainings on Hugging Face Jobs that look like local ones.

    launcher    starts, stops and finds them, as `altub.runs.launchers.base` wants it
    submit      a run directory becomes a job; this very code, its settings and its state travel through a mirror repo
    mirror      what runs inside of the job: trains, and uploads the run directory now and then
    follow      what runs at home: brings the run directory up to date from the mirror, and asks how the job is

Three places know of one training: the job, its mirror (a private model repo), and the run directory at home, which
remote.json marks. The token is sent as the job's secret and is written nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.runs.launchers.hf_jobs.launcher import HfJobsLauncher
    from altub.runs.launchers.hf_jobs.link import Link, read_link

__all__ = ["HfJobsLauncher", "Link", "read_link"]

__getattr__, __dir__ = lazy_exports(__name__, {"HfJobsLauncher": ".launcher", "Link": ".link", "read_link": ".link"})
