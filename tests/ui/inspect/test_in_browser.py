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

    # The batch lies beside the picture, in sight, and a click shows an image, at most as large as a screen.
    def shows(name: str) -> None:
        page.wait_for_function("n => document.querySelector('#inspect-verdict .name')?.innerText === n", arg=name)

    page.set_viewport_size({"width": 1440, "height": 900})
    for part in (".review .list", "#inspect-slider", "#inspect-rate-note"):
        box = page.locator(part).bounding_box()
        assert box["y"] + box["height"] <= 900, f"{part} is in sight without scrolling"
    before = page.locator("#inspect-legend").bounding_box()
    page.locator(".review .pick", has_text=wide.name).click()
    shows(wide.name)
    page.wait_for_function("() => document.querySelectorAll('#inspect-slider img')[1].naturalWidth === 1600")
    assert page.locator("#inspect-legend").bounding_box() == before, "the shape of an image moves nothing"
    page.wait_for_function("() => [...document.querySelectorAll('.review img[src]')].every(i => i.naturalWidth > 0)")

    # The list sorts, filters and searches; Next and Previous follow it and pass over what could not be read.
    names = page.locator(".review tbody .name")
    arrived = ["blot/000.png", "001.png", "notes.txt", wide.name]
    assert names.all_inner_texts() == arrived
    head = page.locator(".review th", has_text="Image")
    head.get_by_role("button").click()
    assert names.all_inner_texts() == ["001.png", "blot/000.png", "notes.txt", wide.name]
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").click()
    assert names.all_inner_texts() == [wide.name, "notes.txt", "blot/000.png", "001.png"]
    page.click("#inspect-next")
    shows("blot/000.png")
    assert page.inner_text(".review .place") == "2 of 3"
    page.click("#inspect-previous")
    page.click("#inspect-previous")
    shows("001.png")
    page.locator(".review .filter.unreadable").click()
    assert names.all_inner_texts() == ["notes.txt"] and page.locator(".review .pick").is_disabled()
    page.locator(".review .filter.defect").click()
    assert "blot/000.png" in names.all_inner_texts() and "001.png" not in names.all_inner_texts()
    page.click("#inspect-next")
    assert page.locator(".review tr.shown .chip").inner_text() == "Defect"
    page.locator(".review .filter.all").click()
    page.get_by_label("Search images").fill("001")
    assert names.all_inner_texts() == ["001.png"]
    page.get_by_label("Search images").fill("")
    head.get_by_role("button").click()
    assert names.all_inner_texts() == arrived, "a third click brings back the order of arrival"

    # The threshold moves: label, note and verdicts follow.
    before = page.inner_text("#inspect-rate-note")
    page.focus("#inspect-rate input[type=range]")
    assert "20 %" in page.inner_text("#inspect-rate"), "the lowest rate of four held-out images"
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#inspect-rate').innerText.includes('40 %')")
    page.wait_for_selector('#inspect-rate input[type=range][aria-valuetext="40 %"]')
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
        page.click("#inspect-report")
    download.value.save_as(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("<figure") == 3
    page.get_by_role("button", name="Pictures (zip)").click()
    with page.expect_download() as download:
        page.click("#inspect-zip")
    download.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        files = archive.namelist()
    assert {"maps/wide #1_ {left}.png", "overlays/wide #1_ {left}.jpg", "masks/000_mask.png"} <= set(files)

    # A reload finds the inspection again; Delete removes it for good.
    visitor.reload()
    page.wait_for_selector("#train-start:not([disabled])")
    open_tab(page, "Inspect")
    page.wait_for_selector(".review tbody tr.shown")
    assert names.all_inner_texts() == arrived and "4 images" in page.input_value("#inspect-kept input")
    page.click("#inspect-clear")
    page.wait_for_selector("#inspect-empty")
    page.wait_for_selector("#inspect-kept", state="hidden")
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
    page.wait_for_function("() => document.querySelector('#inspect-rate').innerText.includes('40 %')")
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
