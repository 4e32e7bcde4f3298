"""How fast we start is measured, not asserted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from altub.errors import ConfigError
from altub.evaluation.bench import run_startup, startup
from altub.evaluation.bench.startup_peer import measure_peer_startup


def test_each_start_has_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "find_spec", lambda name: None)
    found = run_startup(repeats=1)
    assert list(found) == ["import altub", "altub --help", "page answers"] and found["page answers"] is None
    assert all(seconds > 0 for seconds in found.values() if seconds is not None)


def make_python(folder: Path, *, imports: str = "print(0.5)", helps: str | None = "print('usage')") -> Path:
    """What answers like a Python that has anomalib, and beside it the command `anomalib`."""
    for name, code in (("python", imports), ("anomalib", helps)):
        if code is not None:
            (folder / name).write_text(f"#!{sys.executable}\n{code}\n")
            (folder / name).chmod(0o755)
    return folder / "python"


@pytest.mark.skipif(sys.platform == "win32", reason="a script is no program there")
def test_the_peer_is_compared_where_it_has_a_counterpart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # our command line's: the peer has its own default
    monkeypatch.setattr(startup, "find_spec", lambda name: None)
    monkeypatch.setattr(startup, "_median", lambda measure, repeats: 0.25)
    checks = "import os, sys\nassert sys.argv[1] == '-I' and 'OMP_WAIT_POLICY' not in os.environ\nprint(0.5)"
    python = make_python(tmp_path, imports=checks)
    found = run_startup(repeats=3, peer_python=python)
    assert found["page answers"] is None
    peer = found["peer"]
    assert peer["seconds"]["import anomalib"] == 0.5 and peer["seconds"]["anomalib --help"] > 0
    assert peer["missing"] == {} and list(peer["ratios"]) == ["import altub", "altub --help"]
    assert peer["ratios"]["import altub"] == 0.5 / 0.25


@pytest.mark.skipif(sys.platform == "win32", reason="a script is no program there")
def test_what_the_peer_lacks_is_named(tmp_path: Path) -> None:
    ours = {"import altub": 0.1, "altub --help": 0.2, "page answers": 3.0}
    found = measure_peer_startup(make_python(tmp_path, helps="raise SystemExit('No module named lightning')"), ours, 1)
    assert found["missing"] == {"anomalib --help": "No module named lightning"}
    assert found["seconds"]["anomalib --help"] is None and list(found["ratios"]) == ["import altub"]
    (tmp_path / "anomalib").unlink()
    found = measure_peer_startup(make_python(tmp_path, imports="raise SystemExit(3)", helps=None), ours, 1)
    assert found["missing"]["import anomalib"] == "exit code 3" and found["ratios"] == {}
    assert found["missing"]["anomalib --help"].endswith("anomalib is not installed")
    with pytest.raises(ConfigError, match="cannot be started"):
        measure_peer_startup(tmp_path / "nowhere", ours, 1)
