"""Gradio imported without its stubs: faster, and the page made of it is the same."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from altub.ui.quick_import import collection_paused
from tests.test_package import answer, python

PAGE = """
import json, sys
import altub.ui
from gradio import component_meta
from altub.ui.app import build_app
page = build_app()
config = page.get_config_file()
json.dump({
    "stubs": component_meta.create_or_modify_pyi.__module__,
    "limit": page._queue.default_concurrency_limit,
    "components": config["components"], "layout": config["layout"], "dependencies": config["dependencies"],
    "api": page.get_api_info(),
}, sys.stdout, default=lambda value: getattr(value, "__qualname__", str(value)), sort_keys=True)
"""


@pytest.fixture(autouse=True)
def empty_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "RUNS"):
        monkeypatch.setenv(f"ALTUB_{name}", str(tmp_path / name.lower()))


def test_the_page_is_the_one_of_a_gradio_that_was_imported_as_usual() -> None:
    quick, usual = (answer(before + PAGE) for before in ("", "import gradio\n"))
    assert quick.pop("stubs") == "altub.ui.quick_import"
    assert usual.pop("stubs") == "gradio.component_meta"
    assert quick["limit"] == 4 and len(quick["components"]) > 300 and len(quick["dependencies"]) > 200
    assert quick == usual


def test_the_collector_of_garbage_goes_on_afterwards() -> None:
    assert gc.isenabled()
    with pytest.raises(RuntimeError), collection_paused():
        assert not gc.isenabled()
        raise RuntimeError
    assert gc.isenabled()
    gc.disable()
    try:
        with collection_paused():
            pass
        assert not gc.isenabled(), "who had switched it off keeps it so"
    finally:
        gc.enable()


def test_signatures_of_constructors_are_those_of_their_source() -> None:
    program = (
        "import altub.ui, gradio, inspect\n"
        "for made in (gradio.Slider, gradio.HTML, gradio.Row, gradio.Tab):\n"
        "    kept = inspect.signature(made.__init__)\n"
        "    source = inspect.unwrap(made.__init__)\n"
        "    del source.__signature__\n"
        "    assert kept == inspect.signature(source), made\n"
    )
    done = python("-c", program)
    assert done.returncode == 0, done.stderr
