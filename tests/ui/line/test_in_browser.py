"""The Line tab in a real browser: from shift to alarm to adapt to calm."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import expect

from altub.runs.run import Run
from tests.line.parts import STRONG, parts
from tests.ui.conftest import Server, open_tab

pytestmark = pytest.mark.browser


def inspect(server: Server, run: Run, images: list[Image.Image]) -> None:
    """As a machine of the line does."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for index, image in enumerate(images):
            file = io.BytesIO()
            image.save(file, "PNG")
            answer = client.post(
                "/v1/inspect", data={"run": run.id}, files={"image": (f"{index}.png", file.getvalue())}
            )
            assert answer.status_code == 200, answer.text


def test_from_shift_to_alarm_to_adapt_to_calm(visit, server: Server, line_run: Run, tmp_path: Path) -> None:
    shutil.copytree(line_run.path, server.runs / line_run.id)
    visitor = visit()
    page = visitor.open()
    open_tab(page, "Line")
    state = page.locator("#line-state")
    expect(state).to_contain_text("No image has been inspected")

    inspect(server, line_run, parts(40, 1))
    expect(state).to_contain_text("No change found")
    inspect(server, line_run, parts(40, 2, shift=STRONG))
    expect(state).to_contain_text("The brightness rose from")
    expect(page.locator("#line-streams tr.moved")).to_contain_text("Brightness")
    expect(page.locator("#line-charts svg")).to_have_count(2)

    page.get_by_role("button", name="Adapt model").click()
    today = []
    for index, image in enumerate(parts(19, 3, shift=STRONG)):
        today.append(tmp_path / f"{index}.png")
        image.save(today[-1])
    page.set_input_files("#line-adapt-files input[type=file]", today)
    expect(page.locator("#line-adapt-files")).to_contain_text("KB")  # of the first ones
    page.click("#line-adapt-begin")
    report = page.locator("#line-adapt-report")
    expect(report).to_contain_text("19 of 19")
    expect(report.locator(".strip-row")).to_have_count(2)
    page.click("#line-adapt-keep")
    expect(report).to_contain_text("Version 2 is in use")
    expect(state).to_contain_text("No image has been inspected by this version")

    inspect(server, line_run, parts(40, 4, shift=STRONG))
    expect(state).to_contain_text("No change found")
    expect(state).to_contain_text("40")
    above = re.search(r"Above the threshold\s*(\d+)", state.inner_text())
    assert above and int(above[1]) <= 12, "all of them were, by the model before"
    assert visitor.complaints == [] and visitor.outside == []
