"""Trainings on Hugging Face Jobs that look like local ones.

    submit      a run directory becomes a job; this very code, its settings and its state travel through a mirror repo
    mirror      what runs inside of the job: trains, and uploads the run directory now and then
    follow      what runs at home: brings the run directory up to date from the mirror, and asks how the job is

Three places know of one training: the job, its mirror (a private model repo), and the run directory at home, which
remote.json marks. The token is sent as the job's secret and is written nowhere.
"""

from __future__ import annotations

from altub.runs.launchers.hf_jobs.follow import Follower, cancel
from altub.runs.launchers.hf_jobs.link import Link, read_link
from altub.runs.launchers.hf_jobs.submit import submit, submit_again

__all__ = ["Follower", "Link", "cancel", "read_link", "submit", "submit_again"]
