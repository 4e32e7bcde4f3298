"""What importing the package costs, and what may never be in it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import altub
from tests.conftest import REPOSITORY
from tests.sources import PACKAGE, tree

SOURCES = sorted(PACKAGE.rglob("*.py"))


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "120"}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=300)


def answer(code: str) -> Any:
    """What a Python process of its own prints as JSON."""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def names_imported(source: Path) -> set[str]:
    """Top-level and full names of all modules that a file imports, wherever in it; type checkers' own left out."""
    names: set[str] = set()
    for_types = {
        id(child)
        for node in ast.walk(tree(source))
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in ast.walk(node)
    }
    for node in ast.walk(tree(source)):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names | {name.split(".")[0] for name in names}


def test_sources_are_found() -> None:
    assert PACKAGE / "inference" / "detector.py" in SOURCES and PACKAGE / "ui" / "app.py" in SOURCES
    assert "gradio" in names_imported(PACKAGE / "ui" / "app.py")


def test_importing_the_package_is_light() -> None:
    heavy = "('torch', 'gradio', 'matplotlib', 'timm', 'torchvision', 'pandas')"
    done = python("-c", f"import sys, altub; print([name for name in {heavy} if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_the_whole_library_needs_neither_gradio_nor_matplotlib() -> None:
    """A training or a prediction on a server without the page."""
    program = (
        "import sys, altub\n"
        "for name in altub.__all__: getattr(altub, name)\n"
        "import altub.runs.queue, altub.evaluation.evaluate\n"
        "print([name for name in ('gradio', 'matplotlib', 'altub.ui') if name in sys.modules])"
    )
    done = python("-c", program)
    assert done.stdout.strip() == "[]", done.stderr


def test_help_needs_no_torch_and_names_every_command() -> None:
    program = (
        "import runpy, sys\n"
        "sys.argv = ['altub', '--help']\n"
        "try: runpy.run_module('altub', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules and 'gradio' not in sys.modules"
    )
    done = python("-c", program)
    assert done.returncode == 0, done.stderr
    for command in ("categories", "download", "train", "evaluate", "predict", "runs", "stop", "bench", "ui"):
        assert f" {command} " in done.stdout


def test_the_page_is_built_without_what_only_work_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer to import than all the rest, and nothing of the page's first answer needs them."""
    for name in ("DATA", "RUNS"):
        monkeypatch.setenv(f"ALTUB_{name}", str(tmp_path / name.lower()))
    heavy = "('torch', 'torchvision', 'timm', 'FrEIA', 'scipy', 'sklearn', 'matplotlib', 'onnxruntime', 'safetensors')"
    program = (
        "import sys\n"
        "from altub.ui.app import build_app\n"
        "page = build_app()\n"
        f"print([name for name in {heavy} if name in sys.modules])\n"
        "from altub.training.preflight import examine\n"
        "from altub.data import Category\n"
        "from altub.training.config import TrainingConfig\n"
        "few = Category.from_images('lid', [bytes(9)] * 3)\n"
        "examine(TrainingConfig(category='lid', backbone='filter-bank'), few)\n"
        "print('torch' in sys.modules)"
    )
    done = python("-c", program)
    assert done.stdout.splitlines() == ["[]", "True"], done.stdout + done.stderr


@pytest.mark.parametrize("name", altub.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(altub, name)
    assert value is not None and getattr(altub, name) is value


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Detecter'"):
        _ = altub.Detecter
    assert not hasattr(altub, "cfg")


def test_lazy_names_are_those_of_the_list() -> None:
    assert len(set(altub.__all__)) == len(altub.__all__) and set(altub.__all__) <= set(dir(altub))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_no_file_may_do(source: Path) -> None:
    imported = names_imported(source)
    inside_ui = (PACKAGE / "ui") in source.parents
    if not inside_ui:
        assert "gradio" not in imported, "only app.py and altub/ui know the page"
        # The `ui` command starts the page, `bench --load` loads it.
        if str(source.relative_to(PACKAGE)) not in ("cli/serve.py", "cli/bench.py"):
            assert not any(name.startswith("altub.ui") for name in imported), "arrows point one way"
    assert not imported & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    calls = [node for node in ast.walk(tree(source)) if isinstance(node, ast.Call)]
    for call in calls:
        name = ast.unparse(call.func)
        assert name not in {"torch.load", "torch.save", "eval", "exec"}, f"line {call.lineno}: {name}"
        if name in {"np.load", "numpy.load"}:
            allowed = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert allowed.get("allow_pickle") == "False", f"line {call.lineno}: say allow_pickle=False"
    if source.name != "settings.py":
        reads = [node.lineno for node in ast.walk(tree(source)) if _reads_environment(node)]
        assert not reads, f"settings live in altub/settings.py, not in lines {reads}"


def _reads_environment(node: ast.AST) -> bool:
    """os.environ["X"], os.environ.get("X"), os.getenv("X"); handing the whole of it to a child is something else."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in {"os.environ.get", "os.getenv", "environ.get", "getenv"}
    return isinstance(node, ast.Subscript) and ast.unparse(node.value) in {"os.environ", "environ"}


def test_version_is_one() -> None:
    from altub.version import __version__

    assert altub.__version__ == __version__ and __version__[0].isdigit()
