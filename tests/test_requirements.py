"""pyproject.toml declares what is imported, the extras what they are for, and a missing one is explained."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from altub import version
from altub.runs.launchers.hf_jobs import source
from tests.conftest import REPOSITORY
from tests.sources import PACKAGE, imports

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PROVIDED = {"spaces"}  # by the machines of ZeroGPU, and imported only there
MATCHED = {"torchvision"}  # timm needs one that fits the torch that is installed with it
# Of the tests, not imported by name.
USED_AS_TOOLS = {"paho-mqtt", "pytest-timeout", "pytest-xdist", "ray", "ruff", "setuptools"}


def distribution(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement).group().lower().replace("_", "-")


def declared(*extras: str) -> set[str]:
    lines = [*PROJECT["dependencies"], *(line for name in extras for line in EXTRAS[name])]
    return {distribution(line) for line in lines}


def imported(files: list[Path]) -> dict[str, set[str]]:
    """Top-level module from elsewhere -> the distributions that may bring it."""
    tops = {found.target.split(".")[0] for path in files for found in imports(path)}
    homes = packages_distributions()
    outside = tops - set(sys.stdlib_module_names) - {"altub", "tests", "__future__"} - PROVIDED
    assert outside <= set(homes), f"not installed: {outside - set(homes)}"
    return {top: {distribution(name) for name in homes[top]} for top in outside}


def library_files() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if PACKAGE / "ui" not in path.parents]


def page_files() -> list[Path]:
    return [*(PACKAGE / "ui").rglob("*.py"), REPOSITORY / "app.py", *(REPOSITORY / "spaces").rglob("*.py")]


def own_tests() -> list[Path]:
    return list((REPOSITORY / "tests").rglob("*.py"))


@pytest.mark.parametrize(
    ("files", "extras"),
    [(library_files, ("onnx",)), (page_files, ("ui",)), (own_tests, ("ui", "dev"))],
    ids=["library", "page", "tests"],
)
def test_every_import_is_declared(files, extras: tuple[str, ...]) -> None:
    missing = {module: homes for module, homes in imported(files()).items() if not homes & declared(*extras)}
    assert not missing


def test_everything_declared_is_used() -> None:
    used = set().union(*imported(library_files()).values())
    assert {distribution(line) for line in EXTRAS["onnx"]} <= used
    assert declared() - MATCHED <= used, "what the library needs"
    assert {distribution(line) for line in EXTRAS["ui"]} <= set().union(*imported(page_files()).values())
    development = {distribution(line) for line in EXTRAS["dev"]}
    exporters = {distribution(line) for line in EXTRAS["onnx"]}
    assert exporters <= development, "what is exported is tested"
    assert development <= set().union(*imported(own_tests()).values()) | USED_AS_TOOLS | exporters
    assert not declared() & {distribution(line) for line in EXTRAS["ui"]} and not development & declared("ui")


def test_no_requirement_has_a_marker() -> None:
    """`altub.version.requirements` reads none but those of the extras."""
    for lines in (PROJECT["dependencies"], *EXTRAS.values()):
        assert not [line for line in lines if ";" in line]


def test_every_requirement_has_a_lower_bound_that_ci_holds() -> None:
    """`.ci/lower_bounds.py` installs exactly those; three follow from others, which pin them."""
    lines = [*PROJECT["dependencies"], *EXTRAS["ui"]]
    assert {distribution(line) for line in lines if ">=" not in line} == {
        "torchvision",
        "pydantic-core",
        "gradio-client",
    }
    assert "\npython .ci/lower_bounds.py\n" in (REPOSITORY / ".ci/run").read_text(encoding="utf-8")


def test_the_files_of_requirements_name_the_extras_and_list_nothing_themselves() -> None:
    def lines(name: str) -> list[str]:
        return [line for line in (REPOSITORY / name).read_text(encoding="utf-8").splitlines() if line[:1] != "#"]

    assert lines("requirements.txt") == ["-e .[ui]"]
    assert lines("requirements-dev.txt") == ["-r requirements.txt", "-e .[dev]"]


def test_the_checkout_says_what_it_needs() -> None:
    assert version.requirements() == PROJECT["dependencies"]
    assert version.requirements("ui") == [*PROJECT["dependencies"], *EXTRAS["ui"]]


def test_an_installed_package_says_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From metadata as pip stores it; `test_wheel` asks a real one."""
    lines = ["torch>=2.4", "gradio[oauth]<7,>=6.10; extra == 'ui'", 'pytest>=8 ; extra == "dev"']
    monkeypatch.setattr(version.metadata, "requires", lambda name: lines)
    for stray in (None, '[project]\nname = "another"\n', "[tool.ruff]\n"):
        pyproject = tmp_path / "pyproject.toml"
        if stray is not None:
            pyproject.write_text(stray)
        monkeypatch.setattr(version, "_PYPROJECT", pyproject)
        assert version.requirements() == ["torch>=2.4"]
        assert version.requirements("ui") == ["torch>=2.4", "gradio[oauth]<7,>=6.10"]


def test_a_job_installs_neither_the_page_nor_what_draws() -> None:
    names = {distribution(line) for line in source.requirements()}
    assert {"torch", "timm", "freia"} <= names < declared()
    assert not names & {"gradio", "matplotlib", "contourpy", "starlette", "pytest"}


WITHOUT_GRADIO = "import sys; sys.modules['gradio'] = None; "


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("from altub.cli.app import main; sys.argv = ['altub', 'ui']; main()", 2),
        ("import runpy; runpy.run_path('app.py', run_name='__main__')", 1),
        ("import altub.ui.app", 1),
    ],
)
def test_a_missing_extra_is_one_sentence(program: str, code: int) -> None:
    command = [sys.executable, "-c", WITHOUT_GRADIO + program]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == code
    last = done.stderr.strip().splitlines()[-1]
    assert 'The web page needs Gradio, which is not installed. Install it with: pip install "altub[ui]"' in last
    assert "Traceback" not in done.stderr or program.startswith("import altub")
