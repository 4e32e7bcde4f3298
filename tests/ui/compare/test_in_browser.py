"""The Compare tab in a real browser: empty, with runs, while one goes on, on a phone and dark."""

from __future__ import annotations

import csv
import shutil
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from altub.runs.run import Run
from altub.training.config import TrainingConfig
from tests.ui.conftest import open_tab

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

LONG = 180_000  # milliseconds
TABS = ["Train", "Inspect", "Label", "Compare", "Models", "Line"]


def add_run(trained: Run, root: Path, name: str, created: float, **settings: object) -> Run:
    """A finished run with other settings, made of a trained one."""
    shutil.copytree(trained.path, root / name)
    run = Run(root / name)
    config = {**run.config.model_dump(mode="json"), **settings}
    run.replace_config(TrainingConfig.model_validate(config))
    status = run.read_status()
    status.created = created
    run.write_status(status)
    return run


def test_compare_runs_choose_group_download(visit, server, trained_run: Run, tmp_path: Path) -> None:
    visitor = visit()
    page = visitor.open()
    open_tab(page, "Compare")
    expect(page.locator("#compare-chart")).to_contain_text("Nothing to compare yet", timeout=LONG)

    off = trained_run.config.base.model_dump(mode="json") | {"base_update": "off"}
    add_run(trained_run, server.runs, "weave-1", 1.0)
    add_run(trained_run, server.runs, "weave-2", 2.0, seed=1)
    add_run(trained_run, server.runs, "weave-3", 3.0, base=off)
    lines = page.locator("#compare-chart svg .line")
    expect(lines).to_have_count(3, timeout=LONG)  # they appear by themselves
    expect(page.locator("#compare-settings tbody tr").filter(has_text="base.base_update")).to_contain_text("off")
    expect(page.locator("#compare-settings")).not_to_contain_text("image_size")
    expect(page.locator("#compare-table tbody tr")).to_have_count(3)

    page.locator("#compare-together input").check()
    expect(lines).to_have_count(2, timeout=LONG)
    expect(page.locator("#compare-chart svg polygon")).to_have_count(1)
    page.locator("#compare-together input").uncheck()
    expect(lines).to_have_count(3, timeout=LONG)

    page.click("#compare-metric input")
    page.get_by_role("option", name="Held-out NLL").click()
    expect(page.locator("#compare-chart figcaption > b")).to_have_text("Held-out NLL", timeout=LONG)

    # A run that is taken out stays out, also when a new one comes.
    page.locator("#compare-runs .token-remove").first.click()
    expect(lines).to_have_count(2, timeout=LONG)
    add_run(trained_run, server.runs, "weave-4", 4.0, seed=2)
    page.click("#compare-runs input")
    page.get_by_role("option", name="seed 2").click(timeout=LONG)
    page.keyboard.press("Escape")
    expect(lines).to_have_count(3, timeout=LONG)

    with page.expect_download() as download:
        page.click("#compare .download")
    path = tmp_path / "compare.csv"
    download.value.save_as(path)
    rows = list(csv.DictReader(path.open()))
    last = trained_run.last_and_best()[0].test
    assert [row["run"] for row in rows] == ["weave-2", "weave-3", "weave-4"]
    assert all(float(row["pixel_auroc_last"]) == last.pixel_auroc for row in rows)

    assert str(server.runs) not in page.content()
    assert visitor.complaints == [] and visitor.outside == []


def test_fits_every_screen(visit, server, trained_run: Run) -> None:
    if not (server.runs / "weave-1").exists():
        add_run(trained_run, server.runs, "weave-1", 1.0)
    visitor = visit(360, 900, same_browser=False)
    page = visitor.open("?__theme=light")
    tabs = page.get_by_role("tab")  # what Gradio keeps behind "More tabs" has no such role
    for width in (360, 390):
        page.set_viewport_size({"width": width, "height": 900})
        expect(tabs).to_have_text(TABS)
        assert all(
            tab.is_visible() and tab.bounding_box()["x"] + tab.bounding_box()["width"] <= width for tab in tabs.all()
        )
    open_tab(page, "Compare")
    expect(page.locator("#compare-chart svg .line").first).to_be_visible(timeout=LONG)
    for width, dark in ((390, False), (360, False), (1920, False), (1920, True)):
        page.set_viewport_size({"width": width, "height": 900})
        if dark:
            page.click("#theme-switch")
        page.wait_for_timeout(300)  # the page follows
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        colours = page.evaluate(
            "[getComputedStyle(document.querySelector('#compare-chart .altub-card')).backgroundColor,"
            " getComputedStyle(document.querySelector('#compare .key')).color]"
        )
        assert len(set(colours)) == 2
    assert visitor.complaints == []

    # In a wider font a tab moves behind the menu and still opens.
    page.evaluate(
        "document.head.insertAdjacentHTML('beforeend',"
        " '<style id=wide>#altub-tabs button { letter-spacing: 2px }</style>')"
    )
    page.set_viewport_size({"width": 360, "height": 900})
    expect(page.get_by_role("button", name="More tabs")).to_be_visible()
    open_tab(page, "Models")
    expect(page.locator("#hub-pull")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    # With just the room that all of them need, which "More tabs" has a part of, they are in sight again.
    needed, bar = page.evaluate(
        "(() => { const bar = document.querySelector('#altub-tabs > .tab-wrapper'); const tabs ="
        " [...bar.querySelectorAll('.visually-hidden button')].map((tab) => tab.getBoundingClientRect().width);"
        " return [Math.ceil(tabs.reduce((sum, width) => sum + width)), bar.clientWidth]; })()"
    )
    assert bar < needed
    page.set_viewport_size({"width": 360 + needed - bar + 2, "height": 900})
    expect(tabs).to_have_text(TABS)
    page.set_viewport_size({"width": 360, "height": 900})
    expect(page.get_by_role("button", name="More tabs")).to_be_visible()

    # When a narrow font arrives, too, and on a machine where a frame takes a third of a second.
    page.evaluate(
        "window.busy = setInterval(() => { for (const end = performance.now() + 300; performance.now() < end;); }, 10)"
    )
    page.evaluate("document.getElementById('wide').remove()")
    expect(tabs).to_have_text(TABS)
    page.evaluate("clearInterval(window.busy)")
    assert visitor.complaints == []


def test_looks_at_runs_only_while_it_is_open(visit, server) -> None:
    visitor = visit(same_browser=False)
    page = visitor.open()
    # The number of Gradio's function that the tab's timer calls, from what it draws.
    tick = page.evaluate(
        """() => {
          const {components, dependencies} = window.gradio_config;
          const chart = components.find((one) => one.props.elem_id === 'compare-chart').id;
          const timers = components.filter((one) => one.type === 'timer').map((one) => one.id);
          return dependencies.find((one) => one.outputs.includes(chart)
            && one.targets.some(([id, event]) => event === 'tick' && timers.includes(id))).id;
        }"""
    )
    looks = []
    page.on("request", lambda request: looks.append(1) if f'"fn_index":{tick},' in (request.post_data or "") else None)

    def looks_within(seconds: float) -> int:
        looks.clear()
        page.wait_for_timeout(1000 * seconds)
        return len(looks)

    assert looks_within(3) == 0
    open_tab(page, "Compare")
    assert looks_within(5) >= 1
    open_tab(page, "Inspect")
    page.wait_for_timeout(2500)  # the last look may be under way
    assert looks_within(3) == 0


def test_a_tab_clicked_before_the_address_was_read_stays_open(visit) -> None:
    page = visit(same_browser=False).open("?tab=models")
    expect(page.locator("#hub-pull")).to_be_visible()
    # The server's answer to the address is held back until after the click.
    page.evaluate("localStorage.setItem('altub-tab', 'models')")
    held = iter((1.0, 1.0, 0.5, 0.5))  # seconds
    page.route("**/gradio_api/queue/join*", lambda route: (time.sleep(next(held, 0)), route.continue_()))
    page.goto(page.url.split("?")[0], wait_until="commit")
    page.get_by_role("tab", name="Line").click()
    page.wait_for_function("window.altubAddress?.wasRead")
    page.wait_for_timeout(3000)  # for all answers
    expect(page.get_by_role("tab", name="Line")).to_have_attribute("aria-selected", "true")
    page.unroute_all(behavior="ignoreErrors")
