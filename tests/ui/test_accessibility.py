"""The page without a mouse and for screen readers: axe-core on every tab, keys, names, messages, scrolling."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from altub.runs.run import Run
from tests.ui.conftest import Server, open_tab, visitors

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

TABS = ("Train", "Inspect", "Label", "Compare", "Models", "Line")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def visited(chromium: object, server: Server, trained_run: Run, data_folder: Path) -> Iterator[Page]:
    """A page with a finished run that inspected one image, shared by the tests."""
    shutil.copytree(trained_run.path, server.runs / trained_run.id)
    with visitors(chromium, server) as visit:
        page = visit().open("?__theme=light")
        open_tab(page, "Inspect")
        page.wait_for_function("document.querySelector('#inspect-run input')?.value.includes('weave')")
        page.set_input_files("#inspect-files input[type=file]", str(data_folder / "weave/test/blot/000.png"))
        page.wait_for_selector("#inspect-slider img")
        page.wait_for_selector(".verdict")
        yield page


@pytest.fixture
def inspected(visited: Page) -> Page:
    """The shared page as it was at first: light, on Inspect, without messages."""
    page = visited
    page.set_viewport_size({"width": 1280, "height": 900})
    page.keyboard.press("Escape")
    if page.evaluate("document.body.classList.contains('dark')"):
        page.click("#theme-switch")
    open_tab(page, "Inspect")
    page.evaluate("scrollTo(0, 0)")
    return page


def serious(page: Page) -> list[str]:
    """What axe calls serious or critical, a line each."""
    answer = Axe().run(page, options={"runOnly": {"type": "tag", "values": RULES}}).response
    return [
        f"{found['id']}: {node['target']} {node['failureSummary']} {node['html'][:160]}"
        for found in answer["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


def test_axe_finds_nothing_serious_on_any_tab_light_or_dark(inspected: Page) -> None:
    page, problems = inspected, []
    for theme in ("light", "dark"):
        for tab in TABS:
            open_tab(page, tab)
            page.wait_for_timeout(300)  # the tab fades in, which axe takes for weak contrast
            problems += [f"{theme} {tab} {line}" for line in serious(page)]
        page.click("#theme-switch")
    assert problems == []


def test_pictures_and_controls_have_names_and_values(inspected: Page) -> None:
    page = inspected
    pictures = page.locator("#inspect-slider img")
    expect(pictures.nth(0)).to_have_attribute("alt", "000.png, original")
    expect(pictures.nth(1)).to_have_attribute("alt", "000.png, heatmap: Defect")
    switch = page.get_by_role("button", name="Dark theme")
    expect(switch).to_have_attribute("aria-pressed", "false")
    switch.click()
    expect(switch).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#inspect-rate input[type=range]")).to_have_attribute("aria-valuetext", "20 %")
    page.focus("#inspect-opacity input[type=range]")
    before = page.get_attribute("#inspect-opacity input[type=range]", "aria-valuetext")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#inspect-opacity input[type=range]")).not_to_have_attribute("aria-valuetext", before)


def test_tabs_menus_and_the_handle_over_the_picture_obey_the_keys(inspected: Page) -> None:
    page = inspected
    handle = page.get_by_role("slider", name="Border of original and heatmap")
    handle.focus()
    before = int(handle.get_attribute("aria-valuenow"))
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    expect(handle).to_have_attribute("aria-valuenow", str(before + 10))
    page.keyboard.press("Home")
    expect(handle).to_have_attribute("aria-valuenow", "0")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"

    page.get_by_role("button", name="Score", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".review th", has_text="Score")).to_have_attribute("aria-sort", "descending")
    expect(page.get_by_role("button", name="Score", exact=True)).to_be_focused()
    picks = page.locator(".review .pick")
    assert picks.evaluate_all("all => all.filter(one => one.tabIndex === 0).length") == 1, "one stop for Tab"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(picks.first).to_be_focused()
    expect(picks.first).to_have_accessible_name("000.png: Defect")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".review .pick[aria-current=true]")).to_be_focused()

    page.get_by_role("tab", name="Inspect", exact=True).focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Label", exact=True)).to_be_focused()
    expect(page.get_by_role("tab", name="Label", exact=True)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Inspect", exact=True)).to_have_attribute("aria-selected", "true")


def test_lists_close_behind_the_focus_and_the_wheel_scrolls_over_the_picture(inspected: Page) -> None:
    page = inspected
    page.set_viewport_size({"width": 1280, "height": 500})
    page.locator("#inspect-slider img").first.scroll_into_view_if_needed()
    box = page.locator("#inspect-slider").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    before, size = page.evaluate("scrollY"), page.locator("#inspect-slider img").first.bounding_box()["width"]
    page.mouse.wheel(0, 120 if before == 0 else -120)
    page.wait_for_function("before => scrollY !== before", arg=before)
    assert page.locator("#inspect-slider img").first.bounding_box()["width"] == size
    page.locator("#inspect-slider img").first.scroll_into_view_if_needed()
    box = page.locator("#inspect-slider").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -120)
    page.keyboard.up("Control")
    page.wait_for_function(
        "size => document.querySelector('#inspect-slider img').getBoundingClientRect().width > size", arg=size
    )

    open_tab(page, "Train")
    page.focus("#train-category input")
    expect(page.get_by_role("listbox")).to_have_count(1)
    check, regions = (page.get_by_role("button", name=name) for name in ("Check images ▼", "Regions ▼"))
    preset, size = (page.locator(f"#train-{name} input") for name in ("preset", "image-size"))
    for stop, lists in ((check, 0), (regions, 0), (preset, 1), (size, 0)):
        page.keyboard.press("Tab")
        expect(stop).to_be_focused()
        page.wait_for_timeout(300)
        expect(page.get_by_role("listbox")).to_have_count(lists)
    page.focus("#train-category input")
    expect(page.get_by_role("listbox")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_have_count(0)


def test_messages_cover_no_control_and_leave(inspected: Page) -> None:
    page = inspected
    open_tab(page, "Label")
    page.click("#label-download")  # nobody has given a name yet
    toast = page.locator(".toast-body")
    expect(toast).to_have_count(1)
    switch, body = page.locator("#theme-switch").bounding_box(), toast.bounding_box()
    assert body["y"] > switch["y"] + switch["height"] and body["y"] > 450
    page.keyboard.press("Escape")
    expect(toast).to_have_count(0)
    page.click("#label-download")
    page.click("#label-download")  # two at a time share a toast, whose own timer Gradio forgets
    expect(toast).to_have_count(1)
    page.mouse.move(5, 5)
    expect(toast).to_have_count(0, timeout=20_000)
