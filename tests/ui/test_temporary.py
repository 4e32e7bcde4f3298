"""Temporary files of the page: one folder for each server, bounded, removed with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from altub.errors import ConfigError
from altub.ui.app import build_app
from altub.ui.launch import ServerOptions, launch
from altub.ui.server.temporary import API_FOLDER, BATCHES_FOLDER, TemporaryFiles, remove_dead
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.usefixtures("quick_processes")


def put(path: Path, size: int, age: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"0" * size)
    for touched in (path, path.parent, path.parent.parent):
        os.utime(touched, (time.time() - age,) * 2)
    return path


def test_the_folder_is_this_users_and_gone_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with TemporaryFiles() as files:
        assert files.folder.parent == tmp_path and files.folder.stat().st_mode & 0o077 == 0
        assert os.environ["GRADIO_TEMP_DIR"] == str(files.path)
        put(files.path / "hash" / "a.png", 10, 0)
    assert not list(tmp_path.iterdir()) and os.environ["GRADIO_TEMP_DIR"] == str(tmp_path)
    files.close()


def test_a_root_that_cannot_be_used_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="GRADIO_TEMP_DIR"), TemporaryFiles(tmp_path / "file"):
        pass


def test_what_was_used_least_recently_is_removed_above_the_size(tmp_path: Path) -> None:
    with TemporaryFiles(tmp_path, max_bytes=10_000, grace=60) as files:
        oldest = put(files.path / "hash1" / "a.png", 4000, 500)
        batch = put(files.path / BATCHES_FOLDER / "one" / "1.npy", 3000, 400)
        answer = put(files.path / API_FOLDER / "one" / "maps" / "a.tiff", 3000, 300)
        fresh = put(files.path / "hash2" / "b.png", 2000, 10)
        assert files.sweep() == 8000
        assert not oldest.parent.exists() and batch.exists() and answer.exists() and fresh.exists()
        used = put(files.path / BATCHES_FOLDER / "one" / "2.npy", 3000, 0)  # the batch is used
        assert files.sweep() == 8000
        assert batch.exists() and used.exists() and not answer.parent.parent.exists()


def test_nothing_that_is_new_is_removed_and_age_alone_suffices(tmp_path: Path) -> None:
    with TemporaryFiles(tmp_path, max_bytes=1000, max_age=3600, grace=60) as files:
        new = put(files.path / "hash" / "a.png", 5000, 5)
        assert files.sweep() == 5000 and new.exists()
    with TemporaryFiles(tmp_path, max_bytes=10**6, max_age=3600) as files:
        old, young = put(files.path / "1" / "a.png", 10, 3700), put(files.path / "2" / "a.png", 10, 3500)
        files.sweep()
        assert not old.exists() and young.exists()


def test_uploads_that_were_broken_off_are_removed_and_those_under_way_are_not(tmp_path: Path) -> None:
    with TemporaryFiles(tmp_path, max_bytes=10**6, grace=60) as files:
        broken = put(files.path / "tmpabc", 10, 100)
        with files.upload():
            receiving = put(files.path / "tmpdef", 10, 0)
            files.sweep()
            assert not broken.exists() and receiving.exists()


def test_an_upload_is_refused_where_there_is_no_room(tmp_path: Path) -> None:
    with TemporaryFiles(tmp_path, max_bytes=10_000) as files:
        with files.upload() as one, files.upload() as other:
            assert one.take(6000) and other.take(3000) and not other.take(3000)
            assert "no room" in other.refusal
        with files.upload() as later:
            assert later.refusal is not None
        files.sweep()  # nothing was really written
        with files.upload() as later:
            assert later.refusal is None and later.take(9000)


def test_the_folder_of_a_killed_server_is_removed_and_that_of_a_running_one_stays(tmp_path: Path) -> None:
    code = "import sys, time; from altub.ui.server.temporary import TemporaryFiles\n"
    code += "with TemporaryFiles() as files: print(files.folder, flush=True); time.sleep(60)"
    environment = os.environ | {"GRADIO_TEMP_DIR": str(tmp_path)}
    killed = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True
    )
    folder = Path(killed.stdout.readline().strip())
    with TemporaryFiles(tmp_path) as files:
        assert folder.is_dir()
        killed.kill()
        killed.wait(10)
        (tmp_path / "altub-page-not-a-folder").write_text("")
        (tmp_path / "another-program").mkdir()
        remove_dead(tmp_path)
        assert not folder.exists() and files.path.is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {"altub-page-not-a-folder", "another-program"}


def test_predictions_leave_bounded_files_and_none_after_the_server(
    trained_run, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradio_client import Client, handle_file

    monkeypatch.setenv("ALTUB_RUNS", str(trained_run.path.parent))
    root = tmp_path / "temporary"
    with TemporaryFiles(root, max_bytes=200_000, grace=0) as files:
        demo = build_app()
        url = launch(demo, ServerOptions(), files=files)
        client = Client(url, verbose=False, download_files=str(tmp_path / "downloads"))
        for source in sorted((data_folder / "weave" / "test" / "blot").iterdir())[:3]:
            for copy in range(4):
                given = shutil.copy(source, tmp_path / f"{copy}-{source.name}")
                overlay, *_ = client.predict(handle_file(given), api_name="/predict")
                assert Path(overlay).is_file()
                assert files.sweep() <= 180_000
            assert list(files.path.rglob("*.tiff")) and not list(files.path.rglob("*mask*"))
        demo.close()
        client.close()
    assert not list(root.iterdir())
