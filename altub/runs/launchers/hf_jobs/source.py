"""The code that the job runs: the package that submits it, as a zip, and the command that unpacks it there."""

from __future__ import annotations

import io
import re
import zipfile

from altub import version
from altub.files import PACKAGE

__all__ = ["BOOTSTRAP", "IMAGE", "pack_source", "requirements"]

IMAGE = "python:3.12-bookworm"  # has pip; torch's wheels include CUDA
_NOT_NEEDED = ("matplotlib", "contourpy", "huggingface-hub")  # pictures; the client is installed before

#: Arguments: mirror repo, commit of the source, its SHA-256. The token comes as a secret (HF_TOKEN) alone.
BOOTSTRAP = """
import hashlib, importlib, os, subprocess, sys, tempfile, time, zipfile
began = time.time()
pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
subprocess.run([*pip, "huggingface-hub>=1.0"], check=True)
importlib.invalidate_caches()
from huggingface_hub import hf_hub_download
repo, commit, digest = sys.argv[1:]
path = hf_hub_download(repo, "job/source.zip", revision=commit)
with open(path, "rb") as file:
    if hashlib.sha256(file.read()).hexdigest() != digest:
        sys.exit("The source in the mirror is not the one that was submitted.")
folder = tempfile.mkdtemp(prefix="altub-job-")
zipfile.ZipFile(path).extractall(folder)
os.chdir(folder)
subprocess.run([*pip, "-r", "requirements.txt"], check=True)
os.execv(sys.executable, [sys.executable, "-m", "altub.runs.launchers.hf_jobs.mirror", repo, commit, str(began)])
"""


def pack_source() -> bytes:
    """The package's Python files and a requirements.txt; the same bytes for the same code, on every machine."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(PACKAGE.rglob("*.py")):
            if path.is_file() and not path.is_symlink():
                _add(archive, f"altub/{path.relative_to(PACKAGE).as_posix()}", path.read_bytes())
        _add(archive, "requirements.txt", ("\n".join(requirements()) + "\n").encode())
    return buffer.getvalue()


def requirements() -> list[str]:
    """What training needs: what the library does, less `_NOT_NEEDED`."""
    names = {line: re.match(r"[A-Za-z0-9_.-]*", line).group().lower() for line in version.requirements()}
    return [line for line, name in names.items() if name not in _NOT_NEEDED]


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # A fixed date, so that the same code gives the same bytes.
    archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
