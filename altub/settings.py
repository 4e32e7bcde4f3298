"""Where files live and what a server allows: read from the environment, one prefix, in one place.

| variable              | meaning                                                        | default           |
|-----------------------|----------------------------------------------------------------|-------------------|
| ALTUB_DATA            | data root: MVTec AD categories and the generated sample        | ./data            |
| ALTUB_RUNS            | runs: one folder per training                                  | ./runs            |
| ALTUB_WEIGHTS         | folder of <timm name>.safetensors for machines without network | none              |
| ALTUB_MAX_PIXELS      | images with more pixels are refused                            | 100 million       |
| ALTUB_MAX_UPLOAD      | largest uploaded file, as "50mb"                               | 50mb              |
| ALTUB_FEATURE_MEMORY  | cached features kept in memory, in MiB; more goes to disk      | a quarter of RAM  |
| ALTUB_JOBS            | trainings that run at the same time; further ones queue        | 1                 |
| ALTUB_MVTEC_SOURCES   | where MVTec AD comes from: JSON, or the path of a JSON file     | built-in list     |
| ALTUB_AUTH            | user:password that the page asks for                           | none              |
| ALTUB_ALLOWED_HOSTS   | host names that the page may be reached by, with commas        | the bound one     |

Read beside them: GRADIO_SERVER_NAME and GRADIO_SERVER_PORT (where the page listens), and on a Hugging Face Space SYSTEM
and SPACE_HOST.
"""

from __future__ import annotations

import os
from pathlib import Path

from altub.errors import ConfigError

__all__ = [
    "allowed_hosts",
    "auth",
    "data_root",
    "feature_memory_bytes",
    "max_jobs",
    "max_pixels",
    "max_upload",
    "mvtec_sources",
    "on_space",
    "runs_root",
    "server_name",
    "server_port",
    "space_host",
    "weights_root",
]


def data_root() -> Path:
    """Folder that holds the data sets (``ALTUB_DATA``)."""
    return Path(os.environ.get("ALTUB_DATA") or "data").expanduser().resolve()


def runs_root() -> Path:
    """Folder that holds one folder per run (``ALTUB_RUNS``)."""
    return Path(os.environ.get("ALTUB_RUNS") or "runs").expanduser().resolve()


def weights_root() -> Path | None:
    """Folder of ``<timm name>.safetensors`` files (``ALTUB_WEIGHTS``), or None where it is not set."""
    value = os.environ.get("ALTUB_WEIGHTS")
    return Path(value).expanduser().resolve() if value else None


def max_pixels() -> int:
    """Images with more pixels than this are refused before they are decoded (``ALTUB_MAX_PIXELS``)."""
    return _whole_number("ALTUB_MAX_PIXELS", 100_000_000)


def max_upload() -> str:
    """Largest uploaded file in Gradio's notation (``ALTUB_MAX_UPLOAD``)."""
    return os.environ.get("ALTUB_MAX_UPLOAD") or "50mb"


def max_jobs() -> int:
    """How many trainings run at the same time (``ALTUB_JOBS``); the others wait in a queue."""
    return _whole_number("ALTUB_JOBS", 1)


def mvtec_sources() -> str | None:
    """Sources of MVTec AD as JSON text or the path of a JSON file (``ALTUB_MVTEC_SOURCES``), or None where not set.

    `altub.data.download.parse_sources` tells what may be in it.
    """
    return os.environ.get("ALTUB_MVTEC_SOURCES") or None


def feature_memory_bytes() -> int:
    """Budget for cached features in memory, in bytes (``ALTUB_FEATURE_MEMORY`` is in MiB)."""
    try:
        quarter_of_ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (AttributeError, ValueError, OSError):  # not POSIX
        quarter_of_ram = 4 << 30
    return _whole_number("ALTUB_FEATURE_MEMORY", quarter_of_ram >> 20, least=0) << 20


def auth() -> str | None:
    """What the page asks visitors for, "user:password" (``ALTUB_AUTH``)."""
    return os.environ.get("ALTUB_AUTH") or None


def allowed_hosts() -> list[str]:
    """Further host names that the page may be reached by (``ALTUB_ALLOWED_HOSTS``), in lower case."""
    names = (os.environ.get("ALTUB_ALLOWED_HOSTS") or "").split(",")
    return [name.strip().lower() for name in names if name.strip()]


def server_name() -> str:
    """Address that the page listens on (``GRADIO_SERVER_NAME``)."""
    return os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"


def server_port() -> int | None:
    """Port that the page listens on (``GRADIO_SERVER_PORT``), or None for the first free one."""
    return _whole_number("GRADIO_SERVER_PORT", 0) or None


def on_space() -> bool:
    """Does this process run in a Hugging Face Space?"""
    return os.environ.get("SYSTEM") == "spaces"


def space_host() -> str | None:
    """Public host name of the Space that this process runs in, or None."""
    return os.environ.get("SPACE_HOST") or None


def _whole_number(name: str, default: int, least: int = 1) -> int:
    text = os.environ.get(name)
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise ConfigError(f"{name} is {text!r}: it must be a whole number of at least {least}.")
    return value
