"""What goes wrong on the way is said in a sentence and leaves nothing half behind. One process asks for many faults."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from altub.runs.run import Run
from tests.hub.loopback import ANNA, BEN, Conversation, LoopbackHub
from tests.quick_python import QuickPython

# Reads one JSON line a request, answers with one: the client is started once.
WORKER = """
import json, sys, time
import huggingface_hub.utils._http as http
http.time.sleep = lambda seconds: None  # the client's own waits between its tries
import errno, shutil
import huggingface_hub.file_download as download
import altub.hub.pull
from altub.errors import AltUBError
from altub.hub import pull, push
http_get, copyfile = download.http_get, shutil.copyfile
def full(*arguments, **more):
    raise OSError(errno.ENOSPC, "No space left on device")
def half(source, target):  # some of it fits
    open(target, "wb").write(open(source, "rb").read(100))
    full()
for line in sys.stdin:
    what, arguments = json.loads(line)
    try:
        if what == "full":
            download.http_get = full if arguments["where"] == "cache" else http_get
            shutil.copyfile = half if arguments["where"] == "run" else copyfile
            print("@" + json.dumps({"result": "full" if arguments["where"] else "free"}), flush=True)
            continue
        result = push(**arguments).commit if what == "push" else str(pull(**arguments).path)
        answer = {"result": result}
    except AltUBError as error:
        answer = {"error": str(error)}
    print("@" + json.dumps(answer), flush=True)
"""


class Worker:
    def __init__(self, home: Path, url: str, python: QuickPython) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        clean |= {"HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home / "hf"), "OMP_NUM_THREADS": "1"}
        self.home = home
        self.process = Conversation(python, WORKER, clean | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"})

    def ask(self, what: str, **arguments: object) -> dict[str, str]:
        return self.process.ask(what, arguments)

    def pull(self, repo: str, name: str) -> dict[str, str]:
        return self.ask("pull", reference=repo, run_dir=str(self.home / "runs" / name), token=False)

    def left(self) -> list[str]:
        folder = self.home / "runs"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.fixture(scope="module")
def worker(
    loopback_hub: LoopbackHub, quick_python: QuickPython, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    worker = Worker(tmp_path_factory.mktemp("worker"), loopback_hub.url, quick_python)
    yield worker
    worker.process.close()


@pytest.fixture(scope="module")
def good(worker: Worker, loopback_hub: LoopbackHub, narrow_run: Run) -> dict[str, bytes]:
    """The files of a sound push."""
    loopback_hub.fault()
    done = worker.ask("push", model_dir=str(narrow_run.model_dir), repo="anna/good", token=ANNA)
    assert "result" in done, done
    return loopback_hub.files("anna/good")


def test_dropped_upload_leaves_no_commit_and_can_be_repeated(
    hub: LoopbackHub, worker: Worker, narrow_run: Run, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file  # weights that the Hub does not have yet

    model = tmp_path / "model"
    model.mkdir()
    weights = load_file(narrow_run.model_dir / "model.safetensors")
    name = next(iter(sorted(weights)))
    weights[name] = weights[name] + 1
    save_file(weights, model / "model.safetensors", {"format": "altub"})
    config = json.loads((narrow_run.model_dir / "config.json").read_text())
    import hashlib

    config["weights_sha256"] = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    (model / "config.json").write_text(json.dumps(config))
    hub.fault(drop_upload=100)
    answer = worker.ask("push", model_dir=str(model), repo="anna/dropped", token=ANNA)
    assert "Push again" in answer["error"]
    assert "model.safetensors" not in hub.files("anna/dropped")
    hub.fault()
    assert "result" in worker.ask("push", model_dir=str(model), repo="anna/dropped", token=ANNA)
    assert hub.files("anna/dropped")["model.safetensors"] == (model / "model.safetensors").read_bytes()


def test_stale_parent_is_explained(hub: LoopbackHub, worker: Worker, good: dict, narrow_run: Run) -> None:
    hub.fault(race=1)
    arguments = {"model_dir": str(narrow_run.model_dir), "repo": "anna/good", "licence": "mit", "token": ANNA}
    before = hub.files("anna/good")["config.json"]
    assert "anna/good was changed by someone else" in worker.ask("push", **arguments)["error"]
    assert hub.files("anna/good")["config.json"] == before
    assert "result" in worker.ask("push", **arguments)
    assert "other.txt" in hub.files("anna/good")


def test_truncated_download_leaves_nothing_and_can_be_repeated(hub: LoopbackHub, worker: Worker, good: dict) -> None:
    files = {**good, "model.safetensors": good["model.safetensors"]}
    hub.change("anna/cut", files)
    hub.fault(truncate=100)
    before = worker.left()
    assert "error" in worker.pull("anna/cut", "cut")
    assert worker.left() == before
    hub.fault()
    assert "result" in worker.pull("anna/cut", "cut")
    assert "cut" in worker.left()


def _config(good: dict, **changes: object) -> bytes:
    config = copy.deepcopy(json.loads(good["config.json"]))
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = config
        for parent in parents:
            place = place[parent]
        place[last] = value
    return json.dumps(config).encode()


CASES = {
    "tampered": (lambda g: {"model.safetensors": g["model.safetensors"][:-1] + b"!"}, "checksums differ"),
    "pickle": (lambda g: {"config.json": _config(g, weights_file="model.pkl")}, "pickled file"),
    "architecture": (lambda g: {"config.json": _config(g, detector__backbone="evilnet_9000")}, "architecture"),
    "foreign-hub": (lambda g: {"config.json": _config(g, detector__backbone="hf-hub:evil/net")}, "architecture"),
    "newer": (lambda g: {"config.json": _config(g, format_version=99)}, "newer than this version"),
    "not-ours": (lambda g: {"config.json": b'{"model_type": "bert"}'}, "another kind of model"),
    "no-json": (lambda g: {"config.json": b"\xff\x00"}, "not JSON"),
    "bad-metric": (lambda g: {"config.json": _config(g, info__metrics={"aupro": "<b>"})}, "damaged"),
    "large": (lambda g: {"config.json": b" " * (2 << 20)}, "more than the 1 MB"),
    "misfit": (lambda g: {"config.json": _config(g, detector__flow__steps=3)}, "cannot be used"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_sound_model_is_refused(hub: LoopbackHub, worker: Worker, good: dict, case: str) -> None:
    change, words = CASES[case]
    hub.change(f"anna/{case}", {**good, **change(good)})
    before = worker.left()
    answer = worker.pull(f"anna/{case}", case)
    assert words in answer["error"]
    assert str(worker.home) not in answer["error"]
    assert worker.left() == before


def test_only_a_pickle_and_a_path_out_of_the_folder(hub: LoopbackHub, worker: Worker, good: dict) -> None:
    hub.change("anna/only-pickle", {"pytorch_model.bin": b"x", "config.json": good["config.json"]})
    assert "model.safetensors is missing" in (error := worker.pull("anna/only-pickle", "p")["error"])
    assert "never loads pickled" in error
    hub.change("anna/out", good)
    hub.fault(list=["../x"])
    assert "leads out of its folder" in worker.pull("anna/out", "out")["error"]
    assert not re.search("resolve", "".join(line for line in hub.state()["log"] if "anna/out" in line))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": 403}, "no right"),
        ({"status": 429, "headers": {"Retry-After": "7"}}, "after 7 seconds"),
        ({"status": 503}, "an internal problem"),
    ],
)
def test_answers_of_the_hub_in_words(hub: LoopbackHub, worker: Worker, good: dict, fault: dict, words: str) -> None:
    hub.change("anna/words", good)
    hub.fault(**fault)
    assert words in worker.pull("anna/words", "words")["error"]


def test_who_may_what(hub: LoopbackHub, worker: Worker, good: dict, narrow_run: Run) -> None:
    assert "not on the Hub" in worker.pull("anna/nothing", "n")["error"]
    assert "no such revision" in worker.pull("anna/good@nowhere", "n")["error"]
    hub.change("anna/gated", good, gated=True)
    assert "is gated" in worker.pull("anna/gated", "n")["error"]
    model = str(narrow_run.model_dir)
    assert "no right" in worker.ask("push", model_dir=model, repo="anna/good", token=BEN)["error"]
    assert "Not signed in to Hugging Face" in worker.ask("push", model_dir=model, repo="anna/good")["error"]
    assert "token" in worker.ask("push", model_dir=model, repo="anna/good", token="hf_wrong")["error"]
    hub.change("anna/bert", {"config.json": b'{"model_type": "bert"}'})
    assert "another kind of model" in worker.ask("push", model_dir=model, repo="anna/bert", token=ANNA)["error"]


@pytest.mark.parametrize("where", ["cache", "run"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    hub: LoopbackHub, worker: Worker, good: dict, where: str
) -> None:
    hub.change(f"anna/full-{where}", {**good, "notes.txt": where.encode()})
    before = worker.left()
    assert worker.ask("full", where=where) == {"result": "full"}
    answer = worker.pull(f"anna/full-{where}", "full")
    assert answer["error"].startswith("The disk is full") and "Errno" not in answer["error"]
    assert worker.left() == before
    assert worker.ask("full", where=None) == {"result": "free"}
    assert "result" in worker.pull(f"anna/full-{where}", f"full-{where}")
