"""The order of the rooms, held to what the source imports; and how large, named and documented its files are.

The ALLOWED lists name today's exceptions, each with its reason. A test fails when one of them is no longer needed, so
that they only ever become shorter.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.sources import PACKAGE, Import, imports, modules, tree

#: Room -> rank: a module imports only rooms of its own rank or a lower one. The longest matching name counts; a module
#: at the top of the package has rank 0.
RANKS = {
    "plots": 1,
    "flows": 1,
    "backbones": 1,
    "data": 1,
    "inference": 2,
    "runtime": 2,
    "evaluation.metrics": 3,
    "evaluation.evaluate": 3,
    "evaluation.aupimo": 3,
    "evaluation.verdict_counts": 3,
    "evaluation.examples": 3,
    "training": 4,
    "runs": 5,
    "hub": 6,
    "evaluation": 6,
    "runs.launchers.hf_jobs": 7,  # found by name: the queue, of rank 5, does not import the launchers
    "runs.launchers.zero_gpu": 7,
    "deploy": 8,
    "labels": 8,
    "line": 9,
    "ui": 10,
    "cli": 10,
}
#: What may import everything: the package's own lazy names, and the entry point.
ENTRANCES = ("altub", "altub.__main__")

#: (importing module, imported module): reason.
ALLOWED_UPWARDS = {
    ("altub.inference.detector", "altub.hub"): "from_pretrained is a method of the detector; the import is deferred",
    ("altub.inference.detector", "altub.runs.fit"): "fit is a method of the detector; the import is deferred",
}
#: (importing tab, imported tab): reason. Empty is the goal.
ALLOWED_TABS: dict[tuple[str, str], str] = {}
#: file: reason. Empty is the goal.
ALLOWED_LONG: dict[str, str] = {}

LONGEST = 400  # lines of a file
MOST_AT_THE_TOP = 10  # Python files directly in altub/
TABS = ("train", "inspect", "label", "compare", "models", "line")

SOURCES = sorted([*PACKAGE.rglob("*.py"), REPOSITORY / "app.py", *(REPOSITORY / "spaces").rglob("*.py")])
TESTS = sorted((REPOSITORY / "tests").rglob("*.py"))


def rank(module: str) -> int:
    room = module.removeprefix("altub").lstrip(".")
    while room and room not in RANKS:
        room = room.rpartition(".")[0]
    return RANKS.get(room, 0)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def own_imports() -> list[Import]:
    """Imports from one module of the package to another, the entrances' left out."""
    return [
        found
        for name, path in modules().items()
        if name not in ENTRANCES
        for found in imports(path)
        if within(found.target, "altub")
    ]


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def test_the_readers_see_what_is_there() -> None:
    """Deferred imports, those of type checkers, names of packages and lazy names, each by an example."""
    found = imports(PACKAGE / "inference" / "detector.py")
    assert any(one.target == "altub.hub" and one.deferred for one in found)
    assert any(one.target == "torch" and not one.deferred for one in found)
    assert {one.target for one in imports(PACKAGE / "data" / "layouts" / "btad.py")} >= {"altub.data.category"}
    assert any(one.target == "altub.runs.run" for one in imports(PACKAGE / "__init__.py"))
    assert "torch" not in {
        one.target for one in imports(PACKAGE / "data" / "images" / "tensors.py") if not one.deferred
    }
    assert len(own_imports()) > 300


def test_ranks_name_rooms_that_exist() -> None:
    assert {room for room in RANKS if f"altub.{room}" not in modules()} == set()


def test_no_room_imports_one_above_it() -> None:
    upwards = {(one.source, one.target): one for one in own_imports() if rank(one.target) > rank(one.source)}
    new = [str(one) for pair, one in upwards.items() if pair not in ALLOWED_UPWARDS]
    assert not new, new
    assert set(upwards) == set(ALLOWED_UPWARDS), "no longer needed in ALLOWED_UPWARDS"


def test_no_import_circle() -> None:
    """Among imports that run when a module is loaded."""
    graph = {
        name: {one.target for one in imports(path) if not one.deferred and one.target in modules()}
        for name, path in modules().items()
    }
    # A module with nothing left to wait for goes; what never goes is in a circle or waits for one.
    while free := {name for name, targets in graph.items() if not targets - {name}}:
        graph = {name: targets - free for name, targets in graph.items() if name not in free}
    assert not graph, graph


def test_lazy_names_are_no_modules() -> None:
    """Once a module of that name is imported, the package gives the module in place of what it exports."""
    inits = {path.parent: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("__init__.py")}
    lazy = {
        folder: {name for name, home in re.findall(r'"(\w+)": "([.\w]+)"', text) if "." in home}
        for folder, text in inits.items()
        if "lazy_exports(" in text
    }
    assert len(lazy) >= 4
    for folder, exported in lazy.items():
        assert exported and not exported & {path.stem for path in folder.iterdir()}, relative(folder)


def test_only_the_page_imports_gradio() -> None:
    users = {one.source for path in modules().values() for one in imports(path) if within(one.target, "gradio")}
    assert users and all(within(module, "altub.ui") for module in users)


def test_tabs_do_not_import_each_other() -> None:
    def tab(module: str) -> str | None:
        parts = module.split(".")
        return parts[2] if parts[:2] == ["altub", "ui"] and len(parts) > 2 and parts[2] in TABS else None

    assert {tab(name) for name in modules()} >= {"train", "inspect", "compare", "models"}
    crossing = {
        (tab(one.source), tab(one.target)): str(one)
        for one in own_imports()
        if tab(one.source) and tab(one.target) and tab(one.source) != tab(one.target)
    }
    assert not set(crossing) - set(ALLOWED_TABS), crossing
    assert set(crossing) == set(ALLOWED_TABS), "no longer needed in ALLOWED_TABS"


def test_no_file_is_longer_than_one_reads() -> None:
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in [*SOURCES, *TESTS]}
    long = {name: lines for name, lines in lengths.items() if lines > LONGEST}
    assert not set(long) - set(ALLOWED_LONG), long
    assert set(long) == set(ALLOWED_LONG), "no longer needed in ALLOWED_LONG"


def test_few_files_at_the_top() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_AT_THE_TOP


def test_every_folder_says_what_belongs_into_it() -> None:
    folders = {path.parent for path in SOURCES if path.is_relative_to(PACKAGE)}
    for folder in sorted(folders):
        init = folder / "__init__.py"
        assert init.is_file() and ast.get_docstring(tree(init)), f"{relative(init)} says nothing"


def test_names_say_what_is_inside() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
    named = {path for path in [*SOURCES, *TESTS] if {path.stem, *path.relative_to(REPOSITORY).parts} & vague}
    assert not named


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_broad_excepts_have_a_reason(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    for node in _handlers(path):
        caught = {ast.unparse(part) for part in ast.walk(node.type)} if node.type else {"Exception"}
        if caught & {"Exception", "BaseException"}:
            assert "  # " in lines[node.lineno - 1], f"line {node.lineno}: say why everything is caught"


def _handlers(path: Path) -> Iterator[ast.ExceptHandler]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.ExceptHandler))
