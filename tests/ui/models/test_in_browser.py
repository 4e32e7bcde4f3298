"""The Models tab in a real browser against a loopback Hub: push a run, list it, pull it, find it in Inspect."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from altub.runs.run import Run, list_runs
from altub.training.config import make_config
from tests.hub.loopback import ANNA, LoopbackHub
from tests.ui.conftest import Server, open_tab

pytestmark = pytest.mark.browser


class OnlineServer(Server):
    """Pages of other tests run offline (HF_HUB_OFFLINE); this one has a Hub."""

    def start(self) -> None:
        popen = subprocess.Popen

        def online(*args: Any, env: dict[str, str], **options: Any) -> subprocess.Popen[str]:
            return popen(*args, env={**env, "HF_HUB_OFFLINE": "0"}, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subprocess, "Popen", online)
            super().start()


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    hub = LoopbackHub()
    yield hub
    hub.close()


@pytest.fixture(scope="module")
def server(
    chromium: object,
    hub: LoopbackHub,
    data_folder: Path,
    small_sample: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    from altub.training.loop import train

    folder = tmp_path_factory.mktemp("served")
    server = OnlineServer(folder)
    shutil.copytree(small_sample, server.data / "sample")
    config = make_config(
        data=str(data_folder),
        category="weave",
        backbone="filter-bank",
        image_size=64,
        epochs=1,
        flow={"steps": 1, "hidden_ratio": 0.5, "norm": "layer"},
        device="cpu",
    )
    for _ in train(Run.create(server.runs / "weave-run", config)):
        pass
    names = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "hf"), "HF_TOKEN": ANNA}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        server.start()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    yield server
    server.kill()


def test_push_list_and_pull(visit, server: Server, hub: LoopbackHub) -> None:
    visitor = visit()
    page = visitor.open()
    open_tab(page, "Models")
    expect(page.locator("#hub-run input")).to_have_value(re.compile("weave"), timeout=60_000)
    page.fill("#hub-repo textarea, #hub-repo input", "anna/weave")
    page.click("#hub-push")
    page.wait_for_selector("#hub-push-state .done", timeout=60_000)
    commit = hub.state()["repos"]["anna/weave"]["branches"]["main"]
    assert page.get_attribute("#hub-push-state a", "href") == f"{hub.url}/anna/weave/commit/{commit}"
    assert "examples.png" not in hub.files("anna/weave")

    page.click("#hub-refresh")
    page.click('#hub-list button[data-repo="anna/weave"]')
    assert page.input_value("#hub-reference textarea, #hub-reference input") == "anna/weave"
    assert "pixel AUROC" in page.inner_text("#hub-list")
    page.click("#hub-pull")
    page.wait_for_selector("#hub-pull-state .done", timeout=60_000)
    runs = list_runs(server.runs)
    assert len(runs) == 2 and runs[0].status.state == "finished"
    if folder := os.environ.get("ALTUB_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/models.png", full_page=True)
        page.click("#theme-switch")
        page.set_viewport_size({"width": 390, "height": 844})
        page.screenshot(path=f"{folder}/models-phone-dark.png", full_page=True)
        page.set_viewport_size({"width": 1280, "height": 900})

    open_tab(page, "Inspect")
    page.wait_for_function("document.querySelector('#inspect-model-note')?.innerText.length > 0")
    for _ in range(20):  # the list of runs is looked at again every few seconds
        page.click("#inspect-run input")
        page.wait_for_timeout(500)  # the options unfold a moment after the click
        if page.get_by_role("option").count() == 2:
            break
        page.keyboard.press("Escape")
        page.locator("#inspect-run input").blur()  # a field that still has the focus does not unfold again
        page.wait_for_timeout(1000)
    assert page.get_by_role("option").count() == 2
    assert ANNA not in "".join(server.output)
    assert not visitor.complaints and not visitor.outside


def test_a_problem_is_said_in_place(visit, server: Server) -> None:
    page = visit().open()
    open_tab(page, "Models")
    page.fill("#hub-reference textarea, #hub-reference input", "anna/not-there")
    page.click("#hub-pull")
    page.wait_for_selector("#hub-pull-state .problem", timeout=60_000)
    assert "not on the Hub" in page.inner_text("#hub-pull-state")
