"""A module of another package whose source is changed as it is imported: that one, once, and nobody else notices."""

from __future__ import annotations

import importlib
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path

import pytest

from altub.lazy import LoadedBy, rewritten


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


def test_who_is_being_asked_meanwhile_is_followed_by_the_same(package, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where another thread imports: it goes through the list while one finder comes and another leaves."""
    name, leaving = package("lazy_four", "value = 1\n"), LoadedBy("no_such_module", SourceFileLoader)

    class Asked(MetaPathFinder):
        def find_spec(self, *_what: object) -> None:
            leaving.remove()

    leaving.install()
    last = sys.meta_path.index(PathFinder)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path[:last], Asked(), *sys.meta_path[last:]])
    assert importlib.import_module(name).value == 1
    assert leaving not in sys.meta_path
