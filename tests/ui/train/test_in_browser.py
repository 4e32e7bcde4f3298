"""The Train tab as a person uses it, in a real browser against a real server and real trainings."""

from __future__ import annotations

import re
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from altub.runs.run import list_runs
from tests.conftest import write_category
from tests.ui.conftest import visitors

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

LONG = 240_000  # milliseconds: a training on a busy machine
EPOCHS = 50  # not over before the page was reloaded and the stop clicked


def choose(page: Page, field: str, option: str) -> None:
    page.click(f"{field} input")
    page.get_by_role("option", name=option).click()


def set_small_training(page: Page, epochs: int, size: int = 64) -> None:
    """A few pixels, through the page's own fields, once the page has found its data."""
    expect(page.locator("#train-preview .thumbnails img").first).to_be_visible(timeout=LONG)
    page.fill("#train-image-size input", str(size))
    page.fill("#train-epochs input", str(epochs))
    page.keyboard.press("Tab")


def points_of_training_line(page: Page) -> int:
    """Number of epochs in the curve of the training loss."""
    line = page.query_selector("#loss-chart svg .line")
    return len(line.get_attribute("points").split()) if line else 0


def wait_until(page: Page, what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, page.inner_text("#run-status")
        page.wait_for_timeout(200)


def zoom_and_look(page: Page) -> None:
    """Charts zoom by dragging, the map tells a channel's value, a row of heatmaps enlarges; keys close and reset."""
    page.locator("#metric-chart").scroll_into_view_if_needed()
    box = page.locator("#metric-chart .panel").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 40, steps=3)
    page.mouse.up()
    typed = page.locator("#chart-zoom input, #chart-zoom textarea")
    expect(typed).to_have_value(re.compile(r"\d+-\d+"))
    wait_until(page, lambda: 2 <= points_of_training_line(page) < EPOCHS)
    typed.fill("all")
    typed.press("Enter")
    wait_until(page, lambda: points_of_training_line(page) == EPOCHS)
    page.locator("#drift-picture img").hover()
    expect(page.locator("#drift-picture output")).to_have_text(re.compile(r"epoch \d+ · channel \d+ · .*\d"))
    page.locator("#examples .enlarge").first.click()
    expect(page.locator("dialog.large img").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog.large")).to_be_hidden()


def test_sample_start_watch_reload_stop_resume_finish_inspect(visit, server) -> None:
    visitor = visit()
    page = visitor.open()
    expect(page.locator("#run-status")).to_contain_text("No training yet")
    expect(page.locator("#train-sample")).to_be_in_viewport()
    expect(page.locator("#train-start")).to_be_in_viewport()
    expect(page.locator("#train-preview .thumbnails img")).to_have_count(12, timeout=LONG)

    choose(page, "#train-category", "fabric")
    set_small_training(page, EPOCHS)
    page.click("#train-start")
    expect(page.locator("#run-status .pill")).to_have_text("Training", timeout=LONG)
    wait_until(page, lambda: points_of_training_line(page) >= 2)
    before = points_of_training_line(page)
    wait_until(page, lambda: points_of_training_line(page) > before)
    expect(page.locator("#examples img").first).to_be_visible()
    expect(page.locator("#drift-charts svg")).to_have_count(2)
    expect(page.locator("#drift-picture img")).to_be_visible()

    visitor.reload()
    expect(page.locator("#run-status h3")).to_have_text("fabric")
    wait_until(page, lambda: points_of_training_line(page) > before)

    page.click("#run-stop")
    expect(page.locator("#run-status .pill")).to_have_text("Stopped", timeout=LONG)
    expect(page.locator("#run-stop")).to_be_hidden()
    stopped_at = points_of_training_line(page)
    assert stopped_at < EPOCHS

    page.click("#run-resume")
    expect(page.locator("#run-status .pill")).to_have_text("Finished", timeout=LONG)
    wait_until(page, lambda: points_of_training_line(page) == EPOCHS)
    expect(page.locator("#run-metrics b")).to_have_count(4)
    (run,) = list_runs(server.runs)
    assert [event.epoch for event in run.events()] == list(range(1, EPOCHS + 1))
    base_turns = sum(event.base_trained for event in run.events())
    expect(page.locator("#loss-chart svg rect")).to_have_count(base_turns)

    zoom_and_look(page)
    page.click("#run-inspect")
    page.wait_for_url(re.compile(rf"tab=inspect.*run={run.id}"))
    image = next((server.data / "sample/fabric/test/hole").glob("*.png"))
    page.set_input_files("#inspect-files input[type=file]", str(image))
    expect(page.locator("#inspect-slider img")).to_have_count(2, timeout=LONG)
    expect(page.locator(".verdict").first).to_be_visible()
    expect(page.locator("#inspect-slider img").nth(1)).to_have_attribute("src", re.compile("^blob:"))  # put together

    assert visitor.complaints == []
    assert visitor.outside == []
    assert len(set(visitor.drawn)) > 3  # else everything is sent again with every look


def test_second_window_and_restarted_server_show_the_running_job(visit, server) -> None:
    first = visit().open()
    set_small_training(first, 2000, size=96)  # goes on for longer than this test takes
    first.click("#train-start")
    expect(first.locator("#run-status .pill")).to_have_text("Training", timeout=LONG)
    wait_until(first, lambda: points_of_training_line(first) >= 2)

    stranger = visit(390, 844, same_browser=False).open()
    expect(stranger.locator("#run-status .pill")).to_have_text("Training", timeout=LONG)
    wait_until(stranger, lambda: points_of_training_line(stranger) >= 2)
    expect(stranger.locator("#train-start")).to_be_in_viewport()
    expect(stranger.locator("#run-stop")).to_be_in_viewport()

    server.kill()
    server.start()
    again = visit().open()
    expect(again.locator("#run-status .pill")).to_have_text("Training", timeout=LONG)
    before = points_of_training_line(again)
    wait_until(again, lambda: points_of_training_line(again) > max(before, 2))
    # The window that stayed open finds the server again by itself.
    wait_until(first, lambda: points_of_training_line(first) >= points_of_training_line(again) - 3)

    # Somebody else's training queues behind it; no error.
    set_small_training(stranger := visit(same_browser=False).open(), 1)
    stranger.click("#train-start")
    expect(stranger.locator("#run-status .pill")).to_have_text("Queued", timeout=LONG)
    expect(stranger.locator("#run-status")).to_contain_text("queue", timeout=LONG)
    expect(again.locator("#run-queue li")).to_have_count(1)
    # Nobody's picture changed by that, and each can be looked at by anybody.
    expect(again.locator("#run-status .pill")).to_have_text("Training")
    choose(again, "#run-picker", "queued")
    expect(again.locator("#run-status .pill")).to_have_text("Queued", timeout=LONG)
    choose(again, "#run-picker", "running")
    expect(again.locator("#run-status .pill")).to_have_text("Training", timeout=LONG)
    again.click("#run-stop")
    expect(again.locator("#run-status .pill")).to_have_text("Stopped", timeout=LONG)
    expect(stranger.locator("#run-status .pill")).to_have_text("Finished", timeout=LONG)


@pytest.fixture(scope="module")
def form(chromium, server) -> Iterator[Page]:
    """A page whose form several tests fill in, one after the other."""
    with visitors(chromium, server) as visit:
        yield visit().open()


def test_a_wrong_field_is_a_sentence_and_starts_nothing(form: Page, server) -> None:
    page = form
    known = len(list_runs(server.runs))
    page.fill("#train-image-size input", "7")
    page.keyboard.press("Tab")
    expect(page.locator("#train-image-size")).to_contain_text("greater than or equal to 32", timeout=LONG)
    expect(page.locator("#train-check")).to_contain_text("marked field", timeout=LONG)
    page.click("#train-start")
    expect(page.locator(".toast-body")).to_contain_text("Image size", timeout=LONG)
    page.fill("#train-image-size input", "256")
    page.keyboard.press("Tab")
    expect(page.locator("#train-check")).to_contain_text("of memory", timeout=LONG)
    expect(page.locator("#train-image-size")).not_to_contain_text("greater than", timeout=LONG)
    assert len(list_runs(server.runs)) == known
    assert "Traceback" not in "".join(server.output)


def test_uploads_become_a_category(form: Page, server, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(9):
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(tmp_path / f"{k}.png")
    (tmp_path / "broken.png").write_bytes(b"not an image")
    page = form
    page.click("#train-source label:has-text('My images')")
    expect(page.locator("#train-preview")).to_contain_text("No own images yet")
    page.click("#upload-store")
    expect(page.locator("#upload-name .field-problem")).to_contain_text("name of letters")
    expect(page.locator(".toast-body")).to_have_count(0)
    page.fill("#upload-name textarea, #upload-name input", "../my lids")
    expect(page.locator(".field-problem")).to_have_count(0)
    page.set_input_files("#upload-good input[type=file]", [str(path) for path in sorted(tmp_path.glob("*.png"))])
    expect(page.locator("#upload-good")).to_contain_text("broken")
    page.click("#upload-store")
    expect(page.locator(".toast-body", has_text="broken.png")).to_be_visible()
    expect(page.locator("#train-preview")).to_contain_text("9 for training")
    assert len(list((server.data / "uploads/my lids/good").iterdir())) == 9


def test_download_of_mvtec_wants_consent_and_says_when_sources_are_dead(form: Page, server, tmp_path) -> None:
    page = form
    page.click("#train-source label:has-text('MVTec AD')")
    expect(page.locator("#train-preview")).to_contain_text("No category of MVTec AD found")
    expect(page.locator("#train-start")).to_be_disabled()
    page.click("#train-download button:has-text('Download MVTec AD')")
    page.click("#download-begin")
    expect(page.locator("#download-licence .field-problem")).to_contain_text("accepting its licence")
    page.check("#download-licence input")
    page.click("#download-begin")
    expect(page.locator("#download-state")).to_contain_text("by hand", timeout=LONG)
    expect(page.locator("#download-state")).to_contain_text(str(server.data / "mvtec"))

    with tarfile.open(tmp_path / "bottle.tar", "w") as archive:
        archive.add(write_category(tmp_path / "bottle"), "bottle")
    files = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path))
    threading.Thread(target=files.serve_forever, daemon=True).start()
    server.mvtec_sources.write_text(f'["http://127.0.0.1:{files.server_port}/bottle.tar"]')
    try:
        page.click("#download-begin")
        expect(page.locator("#train-preview")).to_contain_text("12 for training", timeout=LONG)
    finally:
        files.shutdown()
    expect(page.locator("#train-start")).to_be_enabled()


def test_nothing_sticks_out_at_any_width_light_or_dark_and_the_theme_is_remembered(visit) -> None:
    visitor = visit(1920)
    page = visitor.open("?__theme=light")
    expect(page.locator("#train-preview .thumbnails img").first).to_be_visible(timeout=LONG)
    for dark in (False, True):
        if dark:
            page.set_viewport_size({"width": 1920, "height": 900})
            page.click("#theme-switch")
        assert page.evaluate("document.body.classList.contains('dark')") is dark
        for width in (1920, 1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(300)  # the page follows
            assert page.evaluate("document.documentElement.scrollWidth") <= width, width
    page = visit().open()
    page.wait_for_function("document.body.classList.contains('dark')")
    style = "(element) => [getComputedStyle(element).color, getComputedStyle(document.body).backgroundColor]"
    ink, ground = page.eval_on_selector("#altub-brand h1", style)
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, ground)]
    assert brightness[0] > 500 > 200 > brightness[1]
    assert visitor.complaints == []
    assert visitor.outside == []
