"""The runtime's command in a Python that finds only what the runtime may need."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from tests.conftest import REPOSITORY

#: What the runtime may import beside itself: folders of site-packages.
ALLOWED = (
    *("numpy", "numpy.libs", "PIL", "pillow.libs", "onnxruntime", "flatbuffers", "google", "packaging"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_extensions.py", "typing_inspection"),
)


def run_without_torch(folder: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """`python -m altub.runtime` with these arguments; it fails where torch is found. folder: for its packages."""
    site = folder / "site"
    site.mkdir()
    packages = Path(find_spec("numpy").submodule_search_locations[0]).parent
    for name in ALLOWED:
        if (packages / name).exists():
            (site / name).symlink_to(packages / name)
    (site / "altub").symlink_to(REPOSITORY / "altub")
    code = (
        f"import sys; sys.path[:] = [entry for entry in sys.path if 'site-packages' not in entry] + [{str(site)!r}]\n"
        "from altub.runtime.__main__ import main\n"
        "try:\n    import torch\nexcept ImportError:\n    sys.exit(main(sys.argv[1:]))\n"
        "sys.exit('there is torch')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-S", "-c", code, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
