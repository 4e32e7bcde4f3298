"""At home: brings the run directory of a job up to date from its mirror, and describes how the job is.

What comes from the mirror is checked like everything from outside: names, sizes, checksums, then what is in it. Only
files that are known by name are taken, each replaces the old one in one step, and images are found by their names in
the user's own data: no path of the mirror is ever opened.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from altub.data import load_category
from altub.data.npz import read_npz
from altub.errors import AltUBError, DataError, ModelError
from altub.evaluation.examples import MOST_BYTES, ExampleImage, write_examples
from altub.files import explain_full_disk, write_atomically
from altub.hub.checks import check_content, parse_pushed_config
from altub.hub.errors import HubError, explain_hub_errors
from altub.hub.fetch import ANSWER_TIMEOUT
from altub.hub.history import unpack_history
from altub.inference.model_files import CONFIG_FILE, WEIGHTS_FILE, read_model, write_model
from altub.runs.launchers.hf_jobs.layout import image_names
from altub.runs.launchers.hf_jobs.link import (
    EXAMPLE,
    LIMITS,
    MODEL,
    MOST_EXAMPLE_BYTES,
    PROGRESS,
    TRAINING,
    Link,
    Progress,
    read_link,
)
from altub.runs.run import ENDED, Run, Status

__all__ = ["JobFollower", "cancel"]

MOST_EXAMPLES = 100  # files of heatmaps


class JobFollower:
    """Follows one job (see `launchers.base.Follower`); `look` as often as one likes, from one thread at a time.

    Raises:
        RunError: the run is not trained by a job.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.link = run, read_link(run)
        self._commit = ""  # of the mirror, as the run directory holds it
        self._hashes: dict[str, str] = {}
        self._progress: Progress | None = None

    def look(self) -> Status:
        """Brings the run directory up to date and returns its status. If the Hub cannot be reached, the status' message
        says so and nothing else changes."""
        status = self.run.read_status()
        if status.state in ENDED:
            return status
        try:
            with explain_hub_errors(self.link.repo, "train"):
                status = self._look(status)
        except HubError as error:
            status.message = str(error)
        if status != self.run.read_status():
            self.run.write_status(status)
        return status

    @property
    def is_over(self) -> bool:
        return self.run.read_status().state in ENDED

    def _look(self, old: Status) -> Status:
        from huggingface_hub import HfApi

        api, link = HfApi(), self.link
        job = api.inspect_job(job_id=link.job, namespace=link.namespace)
        stage = str(getattr(job.status.stage, "value", job.status.stage))  # an enum in some versions
        try:
            self._fetch(api)  # after the job: what it uploaded before it ended is then seen
        except _NotSoundError as error:
            failed = old.model_copy()
            failed.to_failed(f"{error} The job: {link.url}")
            return failed
        progress = self._progress
        status = old
        if progress is not None:
            kept = {"created": old.created, "queued_at": old.queued_at, "updated": old.updated, "pid": None}
            status = progress.status.model_copy(update=kept)
        status = status.model_copy(update={"message": status.message if progress else ""})
        if status.state in ENDED:  # as the job itself reported
            if status.state != "finished":
                status.message = f"{status.message} The job: {link.url}".strip()
            return status
        _apply_stage(status, stage, job.status.message, progress is not None, link)
        return status

    def _fetch(self, api: Any) -> None:
        link = self.link
        info = api.model_info(link.repo, files_metadata=True, timeout=ANSWER_TIMEOUT)
        if info.sha == self._commit:
            return
        files = {file.rfilename: file for file in info.siblings or []}
        _check_names(link.repo, files)
        with self._folder() as folder:
            fetched = {}
            for name, file in files.items():
                digest = file.lfs.sha256 if file.lfs else file.blob_id
                if _limit(name) and name not in STATE_ONLY and self._hashes.get(name) != digest:
                    _check_size(link.repo, name, file.size)
                    fetched[name] = (_get(link.repo, file, info.sha, folder), digest)
            if PROGRESS in fetched:
                progress = _parse_progress(link.repo, fetched[PROGRESS][0])
                # Of an earlier job: its curves and model still count, its status does not.
                self._progress = progress if progress.attempt == link.attempt else None
            self._take({name: path for name, (path, _) in fetched.items()}, files)
        self._hashes |= {name: digest for name, (_, digest) in fetched.items()}
        self._commit = info.sha

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        with explain_full_disk(self.run.path):
            folder = Path(tempfile.mkdtemp(dir=self.run.path, prefix=".mirror-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _take(self, fetched: dict[str, Path], files: dict[str, Any]) -> None:
        run, repo = self.run, self.link.repo
        if TRAINING in fetched:
            history = unpack_history(fetched[TRAINING].read_bytes())
            if history is None:
                raise _NotSoundError(f"The curves in {repo} are damaged, so following has ended.")
            if history.base_history:
                run.write_base_history(history.base_arrays())
            run.replace_events(history.events)
        for name, path in fetched.items():
            match = EXAMPLE.fullmatch(name)
            if match:
                run.examples_dir.mkdir(exist_ok=True)
                write_atomically(run.examples_dir / match[1], _checked_maps(repo, path))
        for path in run.examples_dir.glob("epoch_*.npz"):
            if f"run/examples/{path.name}" not in files:
                path.unlink(missing_ok=True)
        if self._progress is not None:
            self._note_examples(self._progress)
            self._note_settings(self._progress)
        if any(name in fetched for name in MODEL):
            self._take_model(fetched)

    def _take_model(self, fetched: dict[str, Path]) -> None:
        folder = next(path.parent for name, path in fetched.items() if name in MODEL)
        for name in (CONFIG_FILE, WEIGHTS_FILE):  # one of the two may be as it was
            if not (folder / name).exists() and (self.run.model_dir / name).exists():
                shutil.copyfile(self.run.model_dir / name, folder / name)
        try:
            config, weights = read_model(folder)
        except ModelError as error:
            raise _NotSoundError(
                f"The model in {self.link.repo} is not the one that its {CONFIG_FILE} names, so following has ended."
            ) from error
        parse_pushed_config(self.link.repo, (folder / CONFIG_FILE).read_bytes())
        write_model(self.run.model_dir, config, weights)

    def _note_examples(self, progress: Progress) -> None:
        """examples.json with paths of this machine: the mirror's names, looked up in the user's own data."""
        config = self.run.config
        try:
            names = image_names(load_category(config.data, config.category))
        except DataError:  # the data is not on this machine (MVTec AD that the job fetched): heatmaps without photos
            names = {}
        images = []
        for example in progress.examples:
            sample = names.get(example.name)
            if sample is None:
                return
            mask = str(sample.mask_path) if sample.mask_path else None
            images.append(ExampleImage(str(sample.path), sample.defect, mask))
        if images:
            self.run.examples_dir.mkdir(exist_ok=True)
            write_examples(self.run.examples_dir, images)

    def _note_settings(self, progress: Progress) -> None:
        config = self.run.config
        if (config.backbone, config.stages) != (progress.backbone, progress.stages):
            found = {"backbone": progress.backbone[:200], "stages": progress.stages}
            self.run.replace_config(config.model_validate({**config.model_dump(), **found}))


class _NotSoundError(AltUBError):
    """The mirror holds what no job of AltUB uploads: someone changed it."""


def cancel(run: Run) -> None:
    """Cancels the job of a run; its mirror is kept.

    Raises:
        HubError: the Hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    link = read_link(run)
    with explain_hub_errors(link.repo, "train"):
        HfApi().cancel_job(job_id=link.job, namespace=link.namespace)
    JobFollower(run).look()


def _apply_stage(status: Status, stage: str, reason: str | None, mirrored: bool, link: Link) -> None:
    """Changes the status to what follows from the job's stage, where the mirror says that the training is running."""
    when = f"after epoch {status.epoch}"
    again = "Resume starts a new job from the last state in its mirror."
    why = " ".join(str(reason or "").split())[:200].rstrip(".")
    if stage == "CANCELED":
        status.to_stopped(f"The job was cancelled {when}. {again} The job: {link.url}")
    elif stage in ("ERROR", "DELETED"):
        verb = "was deleted" if stage == "DELETED" else "ended with an error"
        if "timeout" in why.lower() or "timed out" in why.lower():
            verb, why = f"was ended at its time limit of {link.timeout}", ""
        because = f" ({why})" if why else ""
        status.to_failed(f"The job {verb} {when}{because}. {again} Its log: {link.url}")
    elif stage == "COMPLETED":
        status.to_failed(f"The job ended {when}, but its last upload did not arrive. {again} Its log: {link.url}")
    elif mirrored:
        status.to_running()
    elif stage == "RUNNING":
        status.to_running("installing on Hugging Face Jobs")
    else:
        status.to_queued(f"waiting for {link.flavor} on Hugging Face Jobs")


STATE_ONLY = {name for name in LIMITS if name.startswith(("run/state/", "job/"))}  # for the next job, not for us


def _limit(name: str) -> int | None:
    return MOST_EXAMPLE_BYTES if EXAMPLE.fullmatch(name) else LIMITS.get(name)


def _check_names(repo: str, files: dict[str, Any]) -> None:
    for name in files:
        if name.startswith(("/", "~")) or "\\" in name or ":" in name or ".." in name.split("/"):
            raise _NotSoundError(
                f"{repo} lists a file that leads out of its folder ({name[:80]!r}): nothing was taken."
            )
    if sum(bool(EXAMPLE.fullmatch(name)) for name in files) > MOST_EXAMPLES:
        raise _NotSoundError(f"{repo} lists more files of heatmaps than a training makes: nothing was taken.")


def _check_size(repo: str, name: str, size: int | None) -> None:
    limit = _limit(name) or 0
    if size is None or size > limit:
        raise _NotSoundError(f"{name} in {repo} is larger than the {limit / 1e6:,.0f} MB that it may have.")


def _get(repo: str, file: Any, commit: str, folder: Path) -> Path:
    from huggingface_hub import hf_hub_download

    path = Path(hf_hub_download(repo, file.rfilename, revision=commit, local_dir=folder))
    sha256 = file.lfs.sha256 if file.lfs else None
    if not check_content(path, file.size, sha256, None if sha256 else file.blob_id):
        raise HubError(f"{file.rfilename} of {repo} arrived damaged; it is fetched again.")
    return path


def _parse_progress(repo: str, path: Path) -> Progress:
    try:
        return Progress.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise _NotSoundError(f"The status in {repo} is damaged, so following has ended.") from error


def _checked_maps(repo: str, path: Path) -> bytes:
    """A file of heatmaps, which unpacks to no more than its like."""
    try:
        read_npz(path, most_bytes=MOST_BYTES)
    except ValueError as error:
        raise _NotSoundError(f"{path.name} in {repo} is no file of heatmaps, so following has ended.") from error
    return path.read_bytes()
