"""Inside of the job: trains, and mirrors the run directory.

Started as `python -m altub.runs.launchers.hf_jobs.mirror REPO COMMIT BEGAN`.

An upload that fails is tried again with the next one and never stops the training. What is small (status, curves,
heatmaps) goes twice a minute; what is large (model, checkpoint) at growing intervals, as every version stays there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from altub.data import load_category
from altub.errors import AltUBError, ModelError, RunError
from altub.evaluation.examples import kept_epochs, maps_file, read_examples
from altub.files import read_json
from altub.hub.history import pack_history
from altub.inference.model_files import CONFIG_FILE, WEIGHTS_FILE, read_model
from altub.runs.launchers.hf_jobs.layout import image_names
from altub.runs.launchers.hf_jobs.link import (
    MVTEC,
    PROGRESS,
    REQUEST,
    STATE,
    TRAINING,
    Data,
    Example,
    Progress,
    Request,
)
from altub.runs.run import Run
from altub.training.config import TrainingConfig

__all__ = ["Mirror", "main"]

EVERY = 30.0  # seconds between two commits, at least
LARGE_EVERY, LARGE_SHARE = (
    300.0,
    0.1,
)  # seconds between two uploads of what is large, at least; share of the time so far
LAST_TRIES = 6  # of the last upload, with 1, 2, 4, ... times PATIENCE between them
PATIENCE = 2.0
RESERVE = 180.0  # seconds before the job's end that are kept for the last upload

Commit = Callable[[dict[str, bytes], str], None]


class Mirror:
    """Uploads a run directory from a thread of its own.

    Args:
        commit: takes files by their names in the repo, and the commit's message; it may raise anything.
        attempt: goes into progress.json, see `Link.attempt`.
    """

    def __init__(self, run: Run, commit: Commit, attempt: str, *, every: float = EVERY) -> None:
        self.run, self._commit, self.attempt, self.every = run, commit, attempt, every
        self._names: dict[str, str] = {}
        self._sent: dict[str, int] = {}  # hash of what the mirror holds
        self._began = self._large_at = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> bool:
        """The last upload, with everything; False where it failed for good."""
        self._end.set()
        self._thread.join()
        for trial in range(LAST_TRIES):
            if trial:
                time.sleep(PATIENCE * 2 ** (trial - 1))
            if self.upload(large=True):
                return True
        return False

    def upload(self, *, large: bool) -> bool:
        """One commit with what is new; False where it could not be sent."""
        try:
            files = {name: content for name, content in self.files(large=large).items() if self._is_new(name, content)}
            if files:
                status = self.run.read_status()
                self._commit(files, f"epoch {status.epoch} of {status.epochs}: {status.state}")
            self._sent |= {name: hash(content) for name, content in files.items()}
            return True
        except Exception as error:  # whatever it is, it must not end the training
            print(f"Upload to the mirror failed ({type(error).__name__}); trying again.", file=sys.stderr, flush=True)
            return False

    def files(self, *, large: bool) -> dict[str, bytes]:
        """The mirror's files as they are now. What an epoch writes last is read first: all that a checkpoint counts on
        is then there."""
        run, files = self.run, {}
        if large and run.checkpoint_file.exists():
            files |= {name: (run.path / path).read_bytes() for name, path in STATE.items()}
        if large:
            with suppress(ModelError):  # none yet
                config, weights = read_model(run.model_dir)
                files[f"run/model/{CONFIG_FILE}"] = (json.dumps(config, indent=2, allow_nan=False) + "\n").encode()
                files[f"run/model/{WEIGHTS_FILE}"] = weights
        for path in (maps_file(run.examples_dir, epoch) for epoch in kept_epochs(run.examples_dir)):
            with suppress(FileNotFoundError):  # replaced by a later epoch's just now
                files[f"run/examples/{path.name}"] = path.read_bytes()
        history = pack_history(run)
        if history is not None:
            files[TRAINING] = history
        files[PROGRESS] = (json.dumps(self._progress().model_dump(mode="json"), allow_nan=False) + "\n").encode()
        return files

    def _progress(self) -> Progress:
        config, status = self.run.config, self.run.read_status()
        if status.state == "queued":
            status.to_running()  # the job runs: nothing waits in a queue
        status.pid = None
        return Progress(
            attempt=self.attempt,
            status=status,
            backbone=config.backbone,
            stages=config.stages,
            examples=self._examples(config),
        )

    def _examples(self, config: TrainingConfig) -> list[Example]:
        images = read_examples(self.run.examples_dir)
        if images and not self._names:  # the images do not change while they are trained on
            category = load_category(config.data, config.category)
            self._names = {str(sample.path): name for name, sample in image_names(category).items()}
        return [Example(name=self._names[image.path], defect=image.defect) for image in images]

    def _is_new(self, name: str, content: bytes) -> bool:
        return self._sent.get(name) != hash(content)

    def _work(self) -> None:
        while not self._end.wait(self.every):
            now = time.monotonic()
            large = now - self._large_at >= max(LARGE_EVERY, LARGE_SHARE * (now - self._began))
            if self.upload(large=large) and large:
                self._large_at = now


def main(repo: str, commit: str, began: float) -> int:
    """Trains what the request in the mirror asks for; 0 when it is finished or was stopped, 1 when it failed."""
    from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download

    from altub.training.loop import train

    request = Request.model_validate(read_json(Path(hf_hub_download(repo, REQUEST, revision=commit))))
    work = Path(tempfile.mkdtemp(prefix="altub-run-"))
    api = HfApi()

    def send(files: dict[str, bytes], message: str) -> None:
        api.create_commit(repo, [CommitOperationAdd(k, v) for k, v in files.items()], commit_message=message)

    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    reserve = min(RESERVE, request.seconds / 4)
    deadline = began + request.seconds - reserve
    run = Run.create(work / "run", TrainingConfig.stored({**request.config, "data": "sample"}))
    mirror = Mirror(run, send, request.attempt)
    mirror.start()
    failed = False
    try:
        data = _get_data(request.data, run.config.category, work)
        run.replace_config(run.config.model_copy(update={"data": data}))
        if request.resume:
            _get_state(repo, commit, run, data, request)
        for _ in train(run, should_stop=lambda: stopping.is_set() or time.time() > deadline):
            pass
    except AltUBError as error:
        failed = True
        print(error, file=sys.stderr, flush=True)
        if run.read_status().state != "failed":  # else the trainer has noted it
            run.mark_failed(error)
    status = run.read_status()
    if status.state == "stopped" and time.time() > deadline:
        status.message = "Stopped before the job's time limit. Resume starts a new job from here."
        run.write_status(status)
    whole = mirror.close()
    shutil.rmtree(work, ignore_errors=True)
    return int(failed or not whole)


def _get_data(data: Data, category: str, work: Path) -> str:
    """What to give to `load_category`."""
    if data.kind == "sample":
        return "sample"
    if data.kind == MVTEC:
        from altub.data.download import download_mvtec

        return str(download_mvtec(category, work / "data", accept_licence=True))  # `submit` saw to the consent
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(data.repo, repo_type="dataset", revision=data.revision, local_dir=work / "data"))
    found = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    if len(found) != 1:
        raise RunError(f"The data set {data.repo} does not hold the one category that was uploaded.")
    if found[0].name != category:  # a name with letters that a repo does not take
        os.rename(found[0], folder / category)
    return str(folder)


def _get_state(repo: str, commit: str, run: Run, data: str, request: Request) -> None:
    """The checkpoint of the job before, where it came to one."""
    from huggingface_hub import HfApi, hf_hub_download

    there = {file.rfilename for file in HfApi().model_info(repo, revision=commit).siblings or []}
    if not there.issuperset(STATE):
        return
    for name, path in STATE.items():
        target = run.path / path
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(hf_hub_download(repo, name, revision=commit), target)
    # What "auto" stood for in the job before, and the number of epochs that is wanted now.
    run.replace_config(run.config.model_copy(update={"data": data, "epochs": request.config["epochs"]}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
