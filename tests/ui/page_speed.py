"""How fast the page is, as a table: `python -m tests.ui.page_speed [--folder FOLDER] [--epochs 1]`.

Starts the page on an empty folder, trains the built-in sample through it, and measures in a real browser, by the
browser's own clock, what docs/page.md lists. Times depend on the machine and on what else it does: compare numbers of
one run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.ui.conftest import CHROMIUM, FLAGS, Server, open_tab

TESTS_ALONE = ("ALTUB_PRECISION", "ALTUB_STANDBY")  # set by `tests/conftest.py`, which is imported here as well
MINUTES = 60_000  # milliseconds
REPEATS = 20
IMAGES = 34

# Layout shifts that no input of the last half second explains, summed in windows of shifts less than 1 s apart and 5 s
# long at most; the largest sum counts: the definition of Core Web Vitals (https://web.dev/articles/cls).
WATCH_SHIFTS = """window.shifts = 0;
let sum = 0, first = 0, last = -Infinity;
new PerformanceObserver((list) => {
  for (const {hadRecentInput, startTime, value} of list.getEntries()) {
    if (hadRecentInput) continue;
    if (startTime - last > 1000 || startTime - first > 5000) [sum, first] = [0, startTime];
    last = startTime;
    window.shifts = Math.max(window.shifts, sum += value);
  }
}).observe({type: 'layout-shift', buffered: true});"""
# Milliseconds from `act` to the moment at which `seen` is true of the page, looked at after every change of it.
TIME = """([act, seen]) => new Promise((done) => {
  const isSeen = new Function('return ' + seen), began = performance.now();
  const watch = new MutationObserver(() => look());
  const look = () => { if (isSeen()) { watch.disconnect(); done(performance.now() - began); } };
  watch.observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true});
  window.before = document.querySelectorAll('#inspect-slider img')[1]?.src;
  window.text = document.querySelector('#inspect-rate-note')?.textContent;
  new Function(act)();
  look();
})"""
BLENDED = "document.querySelectorAll('#inspect-slider img')[1].src !== window.before"
NEW_IMAGE = (
    "document.querySelectorAll('#inspect-slider img')[1].src.startsWith('blob:') && "
    "document.querySelector('#inspect-verdict .name')?.textContent === window.wanted && " + BLENDED
)
NEXT = """const rows = [...document.querySelectorAll('.review tbody button.pick')];
const at = rows.findIndex((row) => row.getAttribute('aria-current') === 'true');
const next = rows[(at + 1) % rows.length];
window.wanted = next.querySelector('.name').textContent;
"""
SET = """const field = document.querySelector('%s input[type=range]');
Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field, %s);
field.dispatchEvent(new Event('input', {bubbles: true}));"""


def measure(page: Page, server: Server, folder: Path, epochs: int, started: float) -> Iterator[tuple[str, str, str]]:
    """(what, target, measured), one after another."""
    page.add_init_script(WATCH_SHIFTS)
    page.goto(server.url)
    expect(page.locator("#train-start:not([disabled])")).to_be_visible(timeout=5 * MINUTES)
    yield "page usable after start", "6 s", f"{time.monotonic() - started:.1f} s"
    expect(page.locator("#train-preview .thumbnails img").first).to_be_visible(timeout=5 * MINUTES)
    page.fill("#train-epochs input", str(epochs))
    page.keyboard.press("Tab")
    expect(page.locator("#train-check")).to_contain_text("of memory", timeout=MINUTES)
    began = time.monotonic()
    page.click("#train-start")
    page.wait_for_selector("#loss-chart svg .line", state="attached", timeout=15 * MINUTES)
    yield "Start pressed to first curve", "10 s", f"{time.monotonic() - began:.1f} s"
    expect(page.locator("#run-status .pill")).to_have_text("Finished", timeout=15 * MINUTES)
    yield "layout shift while training", "0.1", f"{page.evaluate('window.shifts'):.3f}"

    open_tab(page, "Inspect")
    files = sorted((server.data / "sample").glob("*/test/*/*.png"))
    chosen = files[:: max(1, len(files) // IMAGES)][:IMAGES]
    expect(page.locator("#inspect-files input[type=file]")).to_be_attached(timeout=MINUTES)
    page.wait_for_timeout(2000)
    page.evaluate("window.shifts = 0")
    began = time.monotonic()
    page.set_input_files("#inspect-files input[type=file]", [str(file) for file in chosen])
    expect(page.locator("#inspect-summary")).to_contain_text(f"{len(chosen)} image", timeout=10 * MINUTES)
    yield f"{len(chosen)} images of three products", "3 s", f"{time.monotonic() - began:.1f} s"
    page.wait_for_timeout(1500)

    def median(act: str, seen: str, repeats: int = REPEATS) -> str:
        times = []
        for k in range(repeats):
            times.append(page.evaluate(TIME, [act.replace("STEP", str(k)), seen]))
            page.wait_for_timeout(150)
        return f"{statistics.median(times):.0f} ms (slowest {max(times):.0f})"

    yield "row click", "150 ms", median(NEXT + "next.click();", NEW_IMAGE)
    yield "Next", "150 ms", median(NEXT + "document.querySelector('#inspect-next').click();", NEW_IMAGE)
    last = int(page.locator("#inspect-rate input[type=range]").get_attribute("max"))
    step = SET % ("#inspect-rate", f"(STEP + 1) % {last + 1}")
    note = "document.querySelector('#inspect-rate-note').textContent !== window.text"
    yield "threshold step", "80 ms", median(step, note)
    yield "opacity step", "80 ms", median(SET % ("#inspect-opacity", "0.2 + (STEP % 10) / 20"), BLENDED)
    outline = "document.querySelector('#inspect-contour input').click();"
    yield "outline on or off", "80 ms", median(outline, BLENDED)
    yield "layout shift while inspecting", "0.1", f"{page.evaluate('window.shifts'):.3f}"
    page.click("#inspect-export button")
    began = time.monotonic()
    with page.expect_download(timeout=5 * MINUTES) as download:
        page.click("#inspect-zip")
    seconds, size = time.monotonic() - began, Path(download.value.path()).stat().st_size
    yield f"zip of {len(chosen)} images, overlays, maps and masks", "", f"{seconds:.1f} s, {size / 1e6:.1f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where data and runs live")
    parser.add_argument("--epochs", type=int, default=1)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="altub-page-"))
    for name in TESTS_ALONE:
        os.environ.pop(name, None)
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(folder)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)  # a person has it open
            started = time.monotonic()
            server.start()
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            print("| | target | measured |\n|---|---|---|")
            for what, target, found in measure(page, server, folder, given.epochs, started):
                print(f"| {what} | {target} | {found} |", flush=True)
            browser.close()
    finally:
        server.kill()


if __name__ == "__main__":
    main()
