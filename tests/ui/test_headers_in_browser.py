"""The policy of the page in a real browser: normal use of the four tabs violates nothing, hostile names run nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from altub.runs.run import Run
from tests.ui.conftest import open_tab

pytestmark = pytest.mark.browser

WATCH = """window.violations = [];
addEventListener('securitypolicyviolation', (event) => window.violations.push(
  `${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber} ${event.sample}`));"""
HOSTILE = "<img src=x onerror=window.ran=1><a href=https:evil.example>click<input>.png"


def test_normal_use_of_the_tabs_violates_nothing(
    visit, server, trained_run: Run, data_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained_run.path, server.runs / trained_run.id)
    visitor = visit()
    visitor.page.add_init_script(WATCH)
    page = visitor.open()
    page.locator("#theme-switch").click()
    page.get_by_text("MVTec AD", exact=True).first.click()

    open_tab(page, "Inspect")
    page.wait_for_function("document.querySelector('#inspect-run input')?.value.includes('weave')")
    field = page.locator("#inspect-files input[type=file]")
    field.set_input_files(str(next((data_folder / "weave/test/blot").iterdir())))
    page.wait_for_selector("#inspect-slider img")
    with page.expect_download() as download:
        page.locator("#inspect-csv").click()
    assert download.value.suggested_filename == "predictions.csv"
    bad = tmp_path / HOSTILE
    bad.write_bytes(b"not an image")
    page.locator("#inspect-files input[type=file]").set_input_files(str(bad))
    page.get_by_text("onerror", exact=False).first.wait_for()

    open_tab(page, "Compare")
    page.wait_for_timeout(500)
    open_tab(page, "Models")
    page.locator("#hub-reference input, #hub-reference textarea").first.fill("<img src=x onerror=window.ran=1>")
    page.locator("#hub-pull").click()
    page.locator("#hub-reference .field-problem").wait_for()
    assert page.locator("img[src=x]").count() == 0

    assert page.evaluate("window.violations") == []
    assert page.evaluate("window.ran") is None
    assert visitor.complaints == [] and visitor.outside == []


def test_text_that_gets_into_the_page_as_html_runs_nothing(visit) -> None:
    visitor = visit()
    visitor.page.add_init_script(WATCH)
    page = visitor.open()
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"window.ran=1\">')")
    page.wait_for_function("window.violations.length > 0")
    assert page.evaluate("window.ran") is None
