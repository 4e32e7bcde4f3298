"""Makes the README's pictures from a running page: `python -m tests.ui.screenshots [--width 1440] [--epochs N]`.

Starts the page on an empty folder, trains the built-in sample through it with the preset as it is, inspects defective
test images, labels most of the test images, opens the run in Models, shows the line after a change of light, and writes
assets/screenshot-<tab>[-dark|-phone].png.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import httpx
from playwright.sync_api import Page, expect, sync_playwright

from altub.data.sample import render_example
from altub.line.shifts import shifted
from tests.ui.conftest import CHROMIUM, FLAGS, REPOSITORY, Server, open_tab
from tests.ui.train.test_in_browser import choose

MINUTES = 60_000  # milliseconds
DESK = "document.querySelector('.label-desk')"
LABELLED = 38  # of the 46 test images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "assets")
    parser.add_argument("--folder", type=Path, help="data and runs live here; where a run is there, nothing is trained")
    parser.add_argument("--category", default="fabric")
    parser.add_argument("--study", type=Path, help="a study's folder: its runs are shown in Compare")
    parser.add_argument("--epochs", type=int, help="instead of the preset's")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    server = Server(given.folder or Path(tempfile.mkdtemp(prefix="altub-screenshots-")))
    server.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = browser.new_page(viewport={"width": 1440, "height": 900}, device_scale_factor=1)
            page.goto(f"{server.url}?__theme=light")
            expect(page.locator("#train-preview .thumbnails img").first).to_be_visible(timeout=5 * MINUTES)
            page.wait_for_timeout(3000)  # a run that is there shows up within a look or two
            if page.locator("#run-status .pill").count() == 0:
                train(page, given.category, given.epochs)
            for theme, width, height, name in (
                ("light", 1440, 900, ""),
                ("dark", 1440, 900, "-dark"),
                ("light", 390, 844, "-phone"),
            ):
                take(page, server, given, theme, (width, height), name)
                label(page, server, given, theme, name)
                line(page, server, given, theme, name)
            if given.study:
                compare(page, server, given)
            browser.close()
    finally:
        server.kill()


def train(page: Page, category: str, epochs: int | None) -> None:
    """Trains through the page's own fields and waits for the end."""
    choose(page, "#train-category", category)
    if epochs:
        page.fill("#train-epochs input", str(epochs))
        page.keyboard.press("Tab")
    page.click("#train-start")
    expect(page.locator("#run-status .pill")).to_have_text("Finished", timeout=15 * MINUTES)


def take(page: Page, server: Server, given: argparse.Namespace, theme: str, size: tuple[int, int], name: str) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(f"{server.url}?tab=train&__theme={theme}")
    expect(page.locator("#drift-picture img")).to_be_visible(timeout=5 * MINUTES)
    # In a picture of the whole page the bar would lie across its middle.
    page.add_style_tag(content="#train-bar { position: static !important; }")
    page.wait_for_timeout(2000)
    page.screenshot(path=given.output / f"screenshot-train{name}.png", full_page=True)
    open_tab(page, "Inspect")
    tested = server.data / "sample" / given.category / "test"
    images = [next(iter(sorted(kind.glob("*.png")))) for kind in sorted(tested.iterdir())]
    page.set_input_files("#inspect-files input[type=file]", [str(path) for path in images])
    page.wait_for_selector("#inspect-slider img[src^='blob:']", timeout=5 * MINUTES)
    page.wait_for_timeout(2000)
    page.screenshot(path=given.output / f"screenshot-inspect{name}.png", full_page=True)
    if name:
        return
    open_tab(page, "Models")
    page.locator("#runs-table tbody tr").first.click()
    expect(page.locator("#run-card")).to_be_visible(timeout=MINUTES)
    page.wait_for_timeout(2000)
    page.screenshot(path=given.output / "screenshot-models.png")


def line(page: Page, server: Server, given: argparse.Namespace, theme: str, name: str) -> None:
    """The Line tab after a change of the light; at the first call images are inspected and the model is adapted."""
    (run,) = [run.name for run in server.runs.iterdir() if (run / "model" / "config.json").is_file()]
    if not name:
        today = server.data.with_name("today")
        today.mkdir(exist_ok=True)
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for index in range(90):  # pieces that are in no folder of the sample
                photo = render_example(given.category, index=100 + index, split="train").image
                path = today / f"{index:03d}.png"
                (shifted(photo, "brightness", 1.12) if index >= 50 else photo).save(path)
                sent = {"image": (path.name, path.read_bytes())}
                client.post("/v1/inspect", data={"run": run}, files=sent).raise_for_status()
    page.goto(f"{server.url}?tab=line&__theme={theme}")
    expect(page.locator("#line-charts svg").first).to_be_visible(timeout=MINUTES)
    if not name:
        page.set_input_files("#line-adapt-files input[type=file]", sorted(today.iterdir())[66:])
        page.click("#line-adapt-begin")
        expect(page.locator("#line-adapt-report .strips")).to_be_visible(timeout=5 * MINUTES)
    page.wait_for_timeout(2000)
    page.screenshot(path=given.output / f"screenshot-line{name}.png", full_page=True)


def label(page: Page, server: Server, given: argparse.Namespace, theme: str, name: str) -> None:
    """The Label tab with a defect on the canvas; at the first call the test images are added and most are labelled."""
    page.goto(f"{server.url}?tab=label&__theme={theme}")
    if not name:
        page.locator(".label-desk .who input").fill("Ann", timeout=MINUTES)
        page.keyboard.press("Enter")
        tested = server.data / "sample" / given.category / "test"
        copies = server.data.with_name("to-label")
        copies.mkdir(exist_ok=True)
        for path in tested.glob("*/*.png"):
            shutil.copy(path, copies / f"{path.parent.name}-{path.name}")
        page.set_input_files("#label-files input[type=file]", sorted(copies.iterdir()))
        page.wait_for_function(f"{DESK}?.dataset.state === 'ready'", timeout=2 * MINUTES)
        for _ in range(LABELLED):
            shown = page.evaluate(f"{DESK}.altub.session.current.name")
            page.keyboard.press("1" if shown.startswith("good") else "2")
            page.wait_for_function(f"name => {DESK}.altub.session.current?.name !== name", arg=shown)
    page.wait_for_function(f"{DESK}?.dataset.state === 'ready'", timeout=MINUTES)
    if not name:
        page.locator("#label-goal-kind").get_by_text("Least cost").click()
        expect(page.locator("#label-insight-view")).not_to_contain_text("no score yet", timeout=3 * MINUTES)
        expect(page.locator(".toast-body")).to_have_count(0, timeout=MINUTES)
    page.wait_for_timeout(4000)
    page.screenshot(path=given.output / f"screenshot-label{name}.png", full_page=True)


def compare(page: Page, server: Server, given: argparse.Namespace) -> None:
    """The study's runs alone, seeds of a setting together."""
    kept = server.runs.with_name("runs-of-the-other-pictures")
    server.runs.rename(kept)
    try:
        shutil.copytree(given.study / "runs", server.runs)
        page.set_viewport_size({"width": 1440, "height": 900})
        page.goto(f"{server.url}?__theme=light")
        open_tab(page, "Compare")
        expect(page.locator("#compare-chart svg .line").first).to_be_visible(timeout=MINUTES)
        page.locator("#compare-together input").check()
        page.wait_for_timeout(5000)
        page.screenshot(path=given.output / "screenshot-compare.png", full_page=True)
    finally:
        shutil.rmtree(server.runs)
        kept.rename(server.runs)


if __name__ == "__main__":
    main()
