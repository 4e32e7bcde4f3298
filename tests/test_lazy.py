"""A module of another package whose source is changed as it is imported: that one, once, and beside other threads."""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path

import pytest

from altub.lazy import rewritten


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Modules that are there to be imported, gone from `sys.modules` afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    made: list[str] = []

    def make(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        made.append(name)
        return name

    yield make
    for name in made:
        sys.modules.pop(name, None)


def test_one_line_of_one_module_is_another(package) -> None:
    name, other = package("lazy_one", "value = 1\nkept = 2\n"), package("lazy_two", "value = 1\n")
    before = list(sys.meta_path)
    with rewritten(name, "value = 1", "value = 5"):
        one, two = importlib.import_module(name), importlib.import_module(other)
    assert (one.value, one.kept, two.value) == (5, 2, 1)
    assert sys.meta_path == before
    sys.modules.pop(name)
    assert importlib.import_module(name).value == 1, "what Python keeps compiled is the module as it is"


def test_what_was_imported_or_has_no_such_line_stays(package) -> None:
    name, before = package("lazy_three", "value = 1\n"), list(sys.meta_path)
    with rewritten(name, "value = 7", "value = 5"):
        assert importlib.import_module(name).value == 1
    with rewritten(name, "value = 1", "value = 5"):
        assert importlib.import_module(name).value == 1
    with pytest.raises(RuntimeError), rewritten("no_such_module", "a", "b"):
        raise RuntimeError
    assert sys.meta_path == before


def test_imports_of_other_threads_miss_no_finder(package) -> None:
    names = [package(f"lazy_many_{index}", "value = 1\n") for index in range(60)]
    over, failed = threading.Event(), []

    def come_and_go() -> None:
        while not over.is_set():
            with rewritten("no_such_module", "a", "b"):
                pass

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for name in names:
            for _ in range(5):
                try:
                    importlib.import_module(name)
                except ImportError as error:
                    failed.append(error)
                sys.modules.pop(name, None)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failed == []
