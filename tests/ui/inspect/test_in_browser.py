"""The Inspect tab in a real browser: from an empty page to verdicts, a moved threshold, a sorted table and files."""

from __future__ import annotations

import csv
import shutil
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from altub.runs.run import Run
from tests.ui.conftest import open_tab

pytestmark = pytest.mark.browser


def test_from_no_model_to_files_on_the_disk(visit, server, trained_run: Run, data_folder: Path, tmp_path: Path) -> None:
    visitor = visit()
    page = visitor.open()
    open_tab(page, "Inspect")

    # Nothing trained: the page says what to do, and notices the first run by itself.
    page.wait_for_selector("#inspect-to-train")
    assert "No trained model yet" in page.inner_text("#inspect-right")
    page.click("#inspect-to-train")
    page.wait_for_selector("#inspect-to-train", state="hidden")
    open_tab(page, "Inspect")
    shutil.copytree(trained_run.path, server.runs / trained_run.id)
    page.wait_for_selector("#inspect-examples img")
    page.wait_for_selector("#inspect-to-train", state="hidden")
    assert "No image yet" in page.inner_text("#inspect-right")

    # An example, by a click.
    page.locator("#inspect-examples .thumbnail-item").first.click()
    page.wait_for_selector("#inspect-verdict .verdict.defect")
    assert "blot/000.png" in page.inner_text("#inspect-verdict")
    assert page.locator("#inspect-slider img").count() == 2

    # Several files at once, one of them no image.
    (tmp_path / "notes.txt").write_text("hello")
    wide = tmp_path / "wide #1: {left}.png"
    Image.open(data_folder / "weave/test/good/000.png").resize((2400, 600)).save(wide)
    files = [data_folder / "weave/test/good/001.png", tmp_path / "notes.txt", wide]
    page.set_input_files("#inspect-files input[type=file]", files)
    page.wait_for_selector("#inspect-notice .problems")
    assert "notes.txt is not an image" in page.inner_text("#inspect-notice")
    page.wait_for_function("() => document.querySelector('#inspect-summary b').innerText === '3'")
    assert "1 unreadable" in page.inner_text("#inspect-summary")

    # A row of the table shows its image, at most as large as a screen.
    page.locator("#inspect-table [role=gridcell]", has_text=wide.name).first.click()
    page.wait_for_function("() => document.querySelector('#inspect-verdict .name').innerText === 'wide #1: {left}.png'")
    page.wait_for_function("() => document.querySelectorAll('#inspect-slider img')[1].naturalWidth === 1600")

    # The table sorts, and a row shows its own image wherever it has moved to.
    names = page.locator("#inspect-table [role=gridcell][aria-colindex='2']")
    arrived = names.all_inner_texts()
    page.locator("#inspect-table [role=columnheader][aria-colindex='2'] button.cell-menu-button").click()
    page.get_by_role("menuitem", name="Sort descending").click()
    page.wait_for_function(
        "first => document.querySelector(\"#inspect-table [role=gridcell][aria-colindex='2']\").innerText !== first",
        arg=arrived[0],
    )
    assert names.all_inner_texts() == sorted(arrived, reverse=True)
    names.last.click()
    page.wait_for_function("name => document.querySelector('#inspect-verdict .name').innerText === name", arg="001.png")

    # The threshold moves: label, note and verdicts follow.
    before = page.inner_text("#inspect-rate-note")
    page.focus("#inspect-rate input[type=range]")
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#inspect-rate').innerText.includes('50 %')")
    page.wait_for_function("text => document.querySelector('#inspect-rate-note').innerText !== text", arg=before)

    # The look changes the overlay alone.
    source = page.locator("#inspect-slider img").nth(1).get_attribute("src")
    page.get_by_label("Outline defects").uncheck()
    page.wait_for_function(
        "source => document.querySelectorAll('#inspect-slider img')[1].getAttribute('src') !== source", arg=source
    )

    # Files.
    with page.expect_download() as download:
        page.click("#inspect-csv")
    download.value.save_as(tmp_path / "table.csv")
    rows = list(csv.DictReader((tmp_path / "table.csv").open(encoding="utf-8")))
    assert [row["image"] for row in rows] == ["blot/000.png", "001.png", "notes.txt", wide.name]
    assert rows[2]["error"] and float(rows[0]["score"]) > float(rows[0]["threshold"])
    with page.expect_download() as download:
        page.click("#inspect-zip")
    download.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert "maps/wide #1_ {left}.tiff" in archive.namelist() and "masks/000_mask.png" in archive.namelist()

    page.click("#inspect-clear")
    page.wait_for_selector("#inspect-empty")
    assert visitor.complaints == [] and visitor.outside == []


def test_stepping_through_a_batch_and_stopping_it(
    visit, server, trained_run: Run, data_folder: Path, tmp_path: Path
) -> None:
    if not (server.runs / trained_run.id).exists():
        shutil.copytree(trained_run.path, server.runs / trained_run.id)
    visitor = visit()
    page = visitor.open("?__theme=dark")
    open_tab(page, "Inspect")
    page.wait_for_selector("#inspect-examples img")
    assert "blot/000.png" in page.inner_text("#inspect-examples")

    def shows(name: str) -> None:
        page.wait_for_function("n => document.querySelector('#inspect-verdict .name')?.innerText === n", arg=name)

    files = [data_folder / f"weave/test/good/00{k}.png" for k in range(3)]
    page.set_input_files("#inspect-files input[type=file]", files)
    shows("000.png")
    page.wait_for_selector("#inspect-stop", state="hidden")
    page.click("#inspect-next")
    shows("001.png")
    page.click("#inspect-previous")
    shows("000.png")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowLeft")  # round to the last
    shows("002.png")
    page.keyboard.press("ArrowRight")
    shows("000.png")
    # Where the arrows move a slider they do not step.
    page.focus("#inspect-rate input[type=range]")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#inspect-rate').innerText.includes('7 %')")
    assert page.inner_text("#inspect-verdict .name") == "000.png"

    # A long batch is stopped: what is done stays.
    large = Image.open(files[0]).resize((1500, 1500))
    many = [tmp_path / f"part-{k:03d}.jpg" for k in range(150)]
    for path in many:
        large.save(path, quality=60)
    page.set_input_files("#inspect-files input[type=file]", many)
    page.click("#inspect-stop")
    page.wait_for_selector("#inspect-notice .hint")
    assert page.inner_text("#inspect-notice").startswith("Stopped after ")
    done = int(page.inner_text("#inspect-summary b"))
    assert 3 < done < 3 + len(many)
    page.wait_for_selector("#inspect-stop", state="hidden")
    assert visitor.complaints == []
