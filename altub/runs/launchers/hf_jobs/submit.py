"""A run directory becomes a job: request and code into the mirror, then one request to Hugging Face Jobs."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from typing import Any

from altub.data import load_category
from altub.data.catalog import SAMPLE
from altub.errors import AltUBError, ConfigError, RunError
from altub.hub.errors import HubError, explain_hub_errors, not_signed_in
from altub.hub.fetch import ANSWER_TIMEOUT, Report
from altub.hub.reference import parse_reference
from altub.runs.launchers.hf_jobs.layout import upload_category
from altub.runs.launchers.hf_jobs.link import MVTEC, REQUEST, SOURCE, Data, Link, Request, read_link, write_link
from altub.runs.launchers.hf_jobs.source import BOOTSTRAP, IMAGE, pack_source
from altub.runs.run import Run

__all__ = ["check_flavor", "data_kind", "submit", "submit_again", "timeout_seconds"]

_ENDED = ("COMPLETED", "CANCELED", "ERROR", "DELETED")


def submit(
    run: Run,
    *,
    data: Data,
    flavor: str,
    timeout: str,
    mirror: str | None = None,
    report: Report | None = None,
) -> Link:
    """Trains `run`, which was just created, as a job.

    Args:
        data: where the job finds the images (see `data_kind`); "dataset" uploads them to a private data set first.
        flavor: hardware, as Hugging Face Jobs name it.
        mirror: "user/name" of the mirror repo, created as private if missing.
        timeout: of the job, such as "90m" or "6h".

    Raises:
        HubError: the Hub refuses or cannot be reached; the run's status says so too.
        ConfigError: not the name of hardware, or not a time.
    """
    check_flavor(flavor)
    timeout_seconds(timeout)
    say = report or (lambda fraction, text: None)
    try:
        api = _api()
        with explain_hub_errors(mirror or "your mirror", "train"):
            user = api.whoami()["name"]
            repo = parse_reference(mirror).repo if mirror else f"{user}/altub-{_repo_name(run.id)}"
            say(None, f"preparing the mirror {repo}")
            _prepare(api, repo, "model", new=True)
            if data.kind == "dataset":
                data = _upload_data(api, repo, run, say)
            link = _start(api, run, repo, user, data, flavor, timeout, resume=False, say=say)
    except AltUBError as error:
        run.mark_failed(error)
        raise
    return link


def submit_again(
    run: Run, *, flavor: str | None = None, timeout: str | None = None, report: Report | None = None
) -> Link:
    """Continues a run whose job has ended: a new job, from the last state in its mirror.

    Raises:
        RunError: the last job is not over.
        HubError: the Hub refuses or cannot be reached; the run is as it was.
    """
    old = read_link(run)
    flavor, timeout = flavor or old.flavor, timeout or old.timeout
    check_flavor(flavor)
    timeout_seconds(timeout)
    api = _api()
    with explain_hub_errors(old.repo, "train"):
        stage = api.inspect_job(job_id=old.job, namespace=old.namespace).status.stage
        if stage not in _ENDED:
            raise RunError(f"The job of run {run.id} is still running ({old.url}): follow it, or stop it first.")
        _prepare(api, old.repo, "model", new=False)
        say = report or (lambda fraction, text: None)
        return _start(api, run, old.repo, old.namespace, old.data, flavor, timeout, resume=True, say=say)


def data_kind(data: str, category: str, *, upload: bool, accept_licence: bool) -> Data:
    """Where the job finds the images that `--data` names.

    Raises:
        ConfigError: it cannot, as they lie on this machine alone and `upload` was not given.
    """
    from altub.data.layouts.mvtec import MVTEC_CATEGORIES

    if data == SAMPLE:
        return Data(kind="sample")
    if data == MVTEC:
        if category not in MVTEC_CATEGORIES:
            raise ConfigError(f"MVTec AD has no category {category!r}: choose one of {', '.join(MVTEC_CATEGORIES)}.")
        if not accept_licence:
            raise ConfigError(
                "The job downloads MVTec AD, whose licence CC BY-NC-SA 4.0 excludes commercial use: accept it with "
                "--accept-licence."
            )
        return Data(kind=MVTEC)
    if not upload:
        raise ConfigError(
            "The job cannot see a folder of this machine: add --upload-data to upload the category's images to a "
            f"private data set of yours on the Hub, or train on --data sample or --data {MVTEC}."
        )
    return Data(kind="dataset")


def check_flavor(flavor: str) -> None:
    """Refuses what cannot be the name of hardware; the Hub knows which ones exist."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,40}", flavor):
        raise ConfigError(f"{flavor!r} is not hardware of Hugging Face Jobs: choose one such as t4-small.")


def timeout_seconds(timeout: str) -> float:
    """ "90m" -> 5400."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", timeout)
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else 0
    if not seconds:
        raise ConfigError(f"{timeout!r} is not a time limit: write it as 90m, 6h or 1d.")
    return seconds


def _api() -> Any:
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise not_signed_in("write access and the right to run jobs")
    return HfApi()


def _prepare(api: Any, repo: str, kind: str, *, new: bool) -> None:
    """Makes sure that the repo exists, is private, and holds nothing that must not be replaced."""
    if new:
        api.create_repo(repo, private=True, exist_ok=True, repo_type=kind)
    info = api.repo_info(repo, repo_type=kind, timeout=ANSWER_TIMEOUT)
    if info.private is False:
        raise HubError(f"{repo} is public: make it private in its settings on the Hub, or name another --mirror.")
    names = {file.rfilename for file in info.siblings or []} - {".gitattributes", "README.md"}
    if new and names:
        raise HubError(f"{repo} is not empty: name another --mirror, or delete it on the Hub.")


def _upload_data(api: Any, repo: str, run: Run, say: Report) -> Data:
    config = run.config
    dataset = f"{repo[:90]}-data"
    _prepare(api, dataset, "dataset", new=True)
    category = load_category(config.data, config.category)
    say(None, f"uploading {len(category.train) + len(category.test)} images to {dataset}, which is private")
    return Data(kind="dataset", repo=dataset, revision=upload_category(api, dataset, category))


def _start(
    api: Any, run: Run, repo: str, user: str, data: Data, flavor: str, timeout: str, *, resume: bool, say: Report
) -> Link:
    from huggingface_hub import CommitOperationAdd, get_token

    attempt, source = uuid.uuid4().hex, pack_source()
    config = run.config.model_copy(update={"data": data.kind}).model_dump(mode="json")
    request = Request(attempt=attempt, config=config, data=data, seconds=timeout_seconds(timeout), resume=resume)
    content = {REQUEST: (json.dumps(request.model_dump(mode="json"), indent=2) + "\n").encode(), SOURCE: source}
    say(None, f"sending the request to {repo}")
    commit = api.create_commit(
        repo, [CommitOperationAdd(name, value) for name, value in content.items()], commit_message="Training request"
    )
    say(None, f"asking for a job on {flavor}")
    job = api.run_job(
        image=IMAGE,
        command=["python", "-c", BOOTSTRAP, repo, commit.oid, hashlib.sha256(source).hexdigest()],
        env={},
        secrets={"HF_TOKEN": get_token()},
        flavor=flavor,
        timeout=timeout,
        namespace=user,
    )
    link = Link(
        repo=repo,
        job=job.id,
        namespace=user,
        url=job.url,
        attempt=attempt,
        flavor=flavor,
        timeout=timeout,
        data=data,
    )
    write_link(run, link)
    run.mark_queued(f"waiting for {flavor} on Hugging Face Jobs")
    return link


def _repo_name(run_id: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_.]+|\.{2,}", "-", run_id).strip("-._")[:60]
    return f"{re.sub('-{2,}', '-', name) or 'run'}-{uuid.uuid4().hex[:4]}"
