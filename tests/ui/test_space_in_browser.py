"""The assembled Space as a process of its own, with a Space's environment, in a real browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from altub.deploy.contents import assemble
from altub.runs.run import Run
from tests.ui.conftest import open_tab

pytestmark = pytest.mark.browser
if "ALTUB_SPACE_PYTHON" not in os.environ:  # another interpreter, with the Space's requirements, may be named there
    pytest.importorskip("authlib", reason="the login of a Space needs gradio[oauth]")
START_TIMEOUT = 90


@pytest.fixture(scope="module")
def space(
    chromium: object, trained_run: Run, small_sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("assembled") / "space"
    assemble(folder, model=trained_run.model_dir)
    shutil.copytree(small_sample, folder / "data/sample")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ALTUB_", "PYTHONPATH"))}
    environment |= {
        "SYSTEM": "spaces",
        "SPACE_ID": "owner/altub",
        "SPACE_HOST": "owner-altub.hf.space",
        "GRADIO_SERVER_NAME": "0.0.0.0",
        "GRADIO_SERVER_PORT": str(port),
        "ALTUB_SPACE_VOLUME": str(folder / "no-volume"),
        "ALTUB_MAX_UPLOAD": "200kb",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        # What the Hub sets for hf_oauth; nobody logs in here.
        "OAUTH_CLIENT_ID": "id",
        "OAUTH_CLIENT_SECRET": "secret",
        "OAUTH_SCOPES": "openid profile contribute-repos",
        "OPENID_PROVIDER_URL": "http://127.0.0.1:9",
    }
    process = subprocess.Popen(
        [os.environ.get("ALTUB_SPACE_PYTHON") or sys.executable, "app.py"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output: list[str] = []
    ready = threading.Event()

    def read() -> None:
        for line in process.stdout:
            output.append(line)
            if line.startswith("AltUB:"):
                ready.set()

    threading.Thread(target=read, daemon=True).start()
    try:
        assert ready.wait(START_TIMEOUT), "the Space did not come up:\n" + "".join(output)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait(10)


def test_a_visitor_inspects_an_image_with_the_starting_model(
    chromium: object, space: str, data_folder: Path, tmp_path: Path
) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    try:
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.goto(space)
        page.wait_for_selector("#train-start:not([disabled])")
        notice = page.locator("#space-notice").inner_text()
        assert "lost when it restarts" in notice and "files up to 200kb" in notice
        page.get_by_text("My images", exact=True).click()
        page.get_by_text("does not train on uploaded images").wait_for()
        assert not page.locator("#train-folder").is_visible() and not page.locator("#upload-store").is_visible()

        open_tab(page, "Inspect")
        chosen = page.locator("#inspect-run input").first
        page.wait_for_function("document.querySelector('#inspect-run input')?.value.includes('weave')")
        assert "4 epochs" in chosen.input_value()
        field = page.locator("#inspect-files input[type=file]")
        field.set_input_files(str(next((data_folder / "weave/test/blot").iterdir())))
        page.wait_for_selector("#inspect-slider img")
        page.get_by_text("Defect", exact=False).filter(visible=True).first.wait_for()
        shots = page.locator("#inspect-slider img")
        assert shots.count() >= 2  # the photo and its overlay
        assert all(shots.nth(k).evaluate("image => image.complete && image.naturalWidth > 0") for k in range(2))

        large = tmp_path / "large.png"
        Image.frombytes("RGB", (400, 400), os.urandom(480_000)).save(large)
        page.locator("#inspect-files input[type=file]").set_input_files(str(large))
        page.get_by_text("exceed the maximum allowed size", exact=False).first.wait_for()
        if folder := os.environ.get("ALTUB_SCREENSHOTS"):
            page.screenshot(path=str(Path(folder) / "space-inspect.png"))
            open_tab(page, "Train")
            page.screenshot(path=str(Path(folder) / "space-train.png"))
    finally:
        context.close()
