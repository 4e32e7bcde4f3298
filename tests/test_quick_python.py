"""A fork that is to be taken for a process of its own behaves as one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.usefixtures("quick_processes"),
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the real ones are started"),
]


def python(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, **options)


def test_output_error_and_code_are_its_own(tmp_path: Path) -> None:
    done = python("-c", "import sys; print('out', *sys.argv); sys.stderr.write('err'); sys.exit(7)", "a b")
    assert (done.stdout, done.stderr, done.returncode) == ("out -c a b\n", "err", 7)
    assert python("-c", "raise SystemExit('words')").stderr == "words\n"
    failed = python("-c", "1 / 0")
    assert failed.returncode == 1 and "ZeroDivisionError" in failed.stderr
    (tmp_path / "script.py").write_text("import sys, beside; print(__name__, sys.argv[1:], beside.HERE)")
    (tmp_path / "beside.py").write_text("HERE = 1")
    assert python(str(tmp_path / "script.py"), "x").stdout == "__main__ ['x'] 1\n"
    assert "No module named 'beside'" in python("-I", str(tmp_path / "script.py")).stderr
    assert python("-m", "beside", cwd=tmp_path).returncode == 0


def test_it_is_a_child_with_torch_imported() -> None:
    code = "import os, sys; print(os.getppid(), os.getsid(0) == os.getpid(), 'torch' in sys.modules)"
    assert python("-c", code).stdout.split() == [str(os.getpid()), "False", "True"]
    assert python("-c", code, start_new_session=True).stdout.split()[1] == "True"


def test_environment_folder_and_project_are_those_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "altub").mkdir()
    (tmp_path / "altub/__init__.py").write_text("NAME = 'another'")
    code = "import os, altub; print(os.environ['SAID'], os.getcwd(), altub.NAME, 'HOME' in os.environ)"
    environment = {"SAID": "so", "PYTHONPATH": str(tmp_path)}
    done = python("-c", code, env=environment, cwd=tmp_path.parent)
    assert done.stdout.split() == ["so", str(tmp_path.parent), "another", "False"], done.stderr


def test_pipes_signals_and_ends() -> None:
    code = "import sys, atexit; atexit.register(print, 'end'); print(sys.stdin.read().upper())"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.communicate("words", timeout=60) == ("WORDS\nend\n", None) and process.returncode == 0

    sleeping = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
    for sent in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen(sleeping, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout.readline() == b"up\n" and process.poll() is None
            process.send_signal(sent)
            assert process.wait(30) == -sent


def test_threads_are_joined_before_it_ends() -> None:
    code = "import threading, time; threading.Thread(target=lambda: (time.sleep(0.2), print('last'))).start()"
    assert python("-c", code).stdout == "last\n"
