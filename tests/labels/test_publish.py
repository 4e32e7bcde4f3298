"""Labels pushed to the Hub as a data set, downloaded and imported again: the same labels, masks bit for bit.

The real huggingface_hub does the talking, to a small Hub on loopback, in processes of its own.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from altub.errors import ConfigError, DataError
from altub.hub.reach import PATIENCE
from altub.labels import publish
from altub.labels.dataset_card import LabelCounts, is_unedited, make_dataset_card
from altub.labels.formats import export_labels, import_labels
from altub.labels.publish import is_label_folder, push_labels
from altub.labels.store import LabelStore
from tests.hub.loopback import ANNA, Client, LoopbackHub
from tests.labels.conftest import add_pictures
from tests.labels.formats.round_trip import assert_same_labels, fill

DOWNLOAD = """
import sys, huggingface_hub
huggingface_hub.snapshot_download(sys.argv[1], repo_type="dataset", local_dir="got")
"""
LOAD = """
import json, numpy as np
from datasets import load_dataset
def row(one):
    return [one["at"], one["verdict"], None if one["mask"] is None else int((np.asarray(one["mask"]) > 0).sum())]
print(json.dumps([row(one) for one in load_dataset("got", split="train")]))
"""
# `altub` without the client's own waits between its tries, and with less patience for a Hub that is silent.
IMPATIENT = """
import sys
import huggingface_hub.utils._http as http
http.time.sleep = lambda seconds: None
import altub.hub.reach as reach
reach.check_reachable.__defaults__ = (0.5,)
from altub.cli.app import main
sys.argv[0] = "altub"
main()
"""
IMAGES = 13


@pytest.fixture
def folder(store: LabelStore, tmp_path: Path) -> Path:
    """An export of labels of all kinds."""
    fill(store)
    export_labels(store, tmp_path / "labels", "imagefolder")
    return tmp_path / "labels"


def push(client: Client, folder: Path, repo: str, *more: str, **environment: str) -> dict:
    done = client.altub("push", str(folder), "--repo", repo, "--json", *more, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def uploads(hub: LoopbackHub) -> int:
    """Number of files that were sent up to now."""
    return sum(line.startswith("PUT /_lfs") for line in hub.state()["log"])


def write_rows(folder: Path, rows: list[dict]) -> None:
    (folder / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_what_comes_back_is_what_was_labelled(
    hub: LoopbackHub, anna: Client, stranger: Client, store: LabelStore, folder: Path, tmp_path: Path
) -> None:
    (folder / "notes.txt").write_text("not named by a row, so it stays here")
    result = push(anna, folder, "anna/parts", "--licence", "cc-by-4.0")
    assert result["changed"] and result["private"] and not result["card_kept"] and result["images"] == IMAGES
    assert result["people"] == ["ann", "bob"] and result["url"] == f"{hub.url}/datasets/anna/parts"
    found = hub.state()["repos"]["datasets/anna/parts"]
    assert found["private"] and len(found["commits"]) == 2, "the empty repo's commit, and one of ours"
    files = hub.files("datasets/anna/parts")
    sent = {name for name in files if name not in (".gitattributes", "README.md")}
    assert sent == {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"notes.txt"}
    assert stranger.run("-c", DOWNLOAD, "anna/parts").returncode != 0, "private"

    done = anna.run("-c", DOWNLOAD, "anna/parts")
    assert done.returncode == 0, done.stderr
    copy = LabelStore(tmp_path / "copy" / "labels.db")
    assert import_labels(copy, anna.home / "got", "importer").labelled == IMAGES
    assert_same_labels(store, copy)
    assert ANNA not in anna.logged


def test_the_card_says_what_it_is(hub: LoopbackHub, anna: Client, folder: Path) -> None:
    push(anna, folder, "anna/card", "--licence", "mit")
    card = hub.files("datasets/anna/card")["README.md"].decode()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "mit" and front["size_categories"] == "n<1K"
    assert {"anomaly-detection", "altub", "altub-labels"} <= set(front["tags"])
    for line in ("| good | 7 |", "| defect | 5 |", "| unsure | 1 |", "| defect | 1 |", "| deep dent  2 | 2 |"):
        assert line in card, line
    assert 'load_dataset("anna/card", split="train")' in card and "4 of them have\na mask" in card
    assert re.search(r"Made with AltUB \d+\.\d+", card) and is_unedited(card) and not is_unedited(card + "mine")


def test_datasets_reads_what_is_on_the_hub(hub: LoopbackHub, anna: Client, folder: Path) -> None:
    push(anna, folder, "anna/loaded")
    for name, content in hub.files("datasets/anna/loaded").items():
        (anna.home / "got" / name).parent.mkdir(parents=True, exist_ok=True)
        (anna.home / "got" / name).write_bytes(content)
    done = anna.run("-c", LOAD)
    assert done.returncode == 0, done.stderr
    found = {name: (verdict, pixels) for name, verdict, pixels in json.loads(done.stdout.splitlines()[-1])}
    rows = rows_of(folder)
    assert len(found) == len(rows) == IMAGES
    for row in rows:
        pixels = None
        if row["mask_file_name"]:
            with Image.open(folder / row["mask_file_name"]) as mask:
                pixels = int((np.asarray(mask) > 0).sum())
        assert found[row["at"]] == (row["verdict"], pixels)


def test_a_second_push_sends_what_changed_and_removes_what_is_gone(
    hub: LoopbackHub, anna: Client, folder: Path
) -> None:
    first = push(anna, folder, "anna/again")
    again = push(anna, folder, "anna/again")
    assert not again["changed"] and again["commit"] == first["commit"]
    rows = rows_of(folder)
    gone = rows.pop(0)["file_name"]
    write_rows(folder, rows)
    sent = hub.change("datasets/anna/again", {"LICENSE": b"mine"})
    assert sent
    push(anna, folder, "anna/again")
    files = hub.files("datasets/anna/again")
    assert gone not in files and rows[0]["file_name"] in files and files["LICENSE"] == b"mine"
    assert "| good | 6 |" in files["README.md"].decode(), "the card follows the labels"
    # An edited card is its author's.
    hub.change("datasets/anna/again", {"README.md": files["README.md"] + b"\nEdited on the Hub.\n"})
    done = anna.altub("push", str(folder), "--repo", "anna/again", "--licence", "mit")
    assert done.returncode == 0 and "the card was edited on the Hub" in done.stderr
    assert hub.files("datasets/anna/again")["README.md"].endswith(b"Edited on the Hub.\n")
    assert done.stdout.splitlines()[-1] == 'load_dataset("anna/again")'


def test_an_interrupted_push_shows_nothing_and_goes_on_from_there(
    hub: LoopbackHub, anna: Client, store: LabelStore, tmp_path: Path
) -> None:
    for image in add_pictures(store, 5, first=1000):  # which this Hub does not have yet
        store.labels.add(image, "ann", "good")
    folder = tmp_path / "labels"
    export_labels(store, folder, "imagefolder")
    hub.fault(drop_upload=1000)
    done = anna.run("-c", IMPATIENT, "push", str(folder), "--repo", "anna/dropped")
    assert done.returncode == 2 and "uploaded files are not sent twice" in done.stderr, done.stderr
    assert set(hub.files("datasets/anna/dropped")) == {".gitattributes"}
    hub.fault()
    before = uploads(hub)
    push(anna, folder, "anna/dropped")
    assert uploads(hub) == before + 5
    # Interrupted after that, before the commit: what the Hub has is not sent again.
    push(anna, folder, "anna/twin")
    assert uploads(hub) == before + 5 and len(hub.files("datasets/anna/twin")) == 5 + 3


def test_private_unless_it_is_said_to_be_public(hub: LoopbackHub, anna: Client, folder: Path) -> None:
    hub.change("datasets/anna/open")
    done = anna.altub("push", str(folder), "--repo", "anna/open")
    assert done.returncode == 2 and "is public" in done.stderr and "--public" in done.stderr
    assert not push(anna, folder, "anna/open", "--public")["private"]
    done = anna.altub("push", str(folder), "--repo", "anna/mine")
    assert "names who labelled: ann, bob" in done.stderr and "names no licence" in done.stderr


def test_refusals_in_words(hub: LoopbackHub, anna: Client, stranger: Client, folder: Path, tmp_path: Path) -> None:
    def refused(client: Client, *arguments: str, start: tuple[str, ...] = ("-m", "altub"), **environment: str) -> str:
        done = client.run(*start, "push", *arguments, **environment)
        assert done.returncode == 2 and "Traceback" not in done.stderr and ANNA not in done.stderr, done.stderr
        return done.stderr

    repo = ("--repo", "anna/refused")
    assert "Not signed in" in refused(stranger, str(folder), *repo)
    assert "no licence 'x'" in refused(anna, str(folder), *repo, "--licence", "x")
    assert "goes with a model" in refused(anna, str(folder), *repo, "--include-examples")
    assert "one folder" in refused(anna, *repo)
    assert "one folder" in refused(anna, str(folder), *repo, "--model", str(folder))
    assert "no model in" in refused(anna, str(tmp_path / "nowhere"), *repo)
    assert "not the name of a repo" in refused(anna, str(folder), "--repo", "refused")
    assert "no right to write" in refused(anna, str(folder), "--repo", "ben/refused")
    hub.change("datasets/anna/other", {"train.csv": b"x"}, private=True)
    assert "holds another data set" in refused(anna, str(folder), "--repo", "anna/other")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{probe.getsockname()[1]}"
    assert "Nothing was pushed to anna/refused" in refused(anna, str(folder), *repo, HF_ENDPOINT=closed)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        asked = refused(anna, str(folder), *repo, start=("-c", IMPATIENT), HF_ENDPOINT=address)
        assert "cannot be reached" in asked
        # Half a second instead of PATIENCE, and the start of a process on a machine that does much else.
        assert PATIENCE < 5 and time.monotonic() - began < 15
    assert "datasets/anna/refused" not in hub.state()["repos"]


def test_no_file_outside_of_the_folder_is_read(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    rows = rows_of(folder)
    shutil.copy(folder / rows[0]["file_name"], secret)
    for name in ("../secret.png", str(secret), "images/../../secret.png", "notes/secret.png", "images/none.png"):
        write_rows(folder, [{**rows[0], "file_name": name}, *rows[1:]])
        with pytest.raises(DataError, match=r"outside of|must lie in images|is not in"):
            push_labels(folder, "anna/x", token=ANNA)
    (folder / "images" / "link.png").symlink_to(secret)
    write_rows(folder, [{**rows[0], "file_name": "images/link.png"}, *rows[1:]])
    with pytest.raises(DataError, match="outside of"):
        push_labels(folder, "anna/x", token=ANNA)
    with_mask = next(row for row in rows if row["mask_file_name"])
    write_rows(folder, [{**with_mask, "mask_file_name": "../secret.png"}])
    with pytest.raises(DataError, match="outside of"):
        push_labels(folder, "anna/x", token=ANNA)
    write_rows(folder, rows)
    (folder / "metadata.jsonl").rename(tmp_path / "metadata.jsonl")
    (folder / "metadata.jsonl").symlink_to(tmp_path / "metadata.jsonl")
    with pytest.raises(DataError, match="outside of"):
        push_labels(folder, "anna/x", token=ANNA)


def test_what_is_a_folder_of_labels(
    store: LabelStore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_label_folder(folder) and not is_label_folder(tmp_path / "nowhere")
    export_labels(store, tmp_path / "coco", "coco")
    with pytest.raises(DataError, match="has the format coco"):
        is_label_folder(tmp_path / "coco")
    with pytest.raises(DataError, match="has no metadata"):
        push_labels(tmp_path / "coco", "anna/x", token=ANNA)
    with pytest.raises(ConfigError):
        push_labels(folder, "anna/x", licence="x", token=ANNA)
    monkeypatch.setattr(publish, "MOST_FILES", 10)
    with pytest.raises(DataError, match=r"has 18 files .* more than the 10 files"):
        push_labels(folder, "anna/x", token=ANNA)
    write_rows(folder, [])
    with pytest.raises(DataError, match="holds no labels"):
        push_labels(folder, "anna/x", token=ANNA)


def test_a_card_holds_names_that_mean_something_to_markdown() -> None:
    counts = LabelCounts(Counter(defect=3), Counter({"<b>|x": 2, "---": 1}), 0, {"ann"})
    card = make_dataset_card(counts, "anna/x", None)
    assert "<b>" not in card and "masks/**" not in card and "license" not in card
    many = LabelCounts(Counter(defect=200), Counter({f"type {n}": 1 for n in range(200)}))
    assert "| 100 more | |" in make_dataset_card(many, "anna/x", None)
