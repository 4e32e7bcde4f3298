"""Where files live and what a server allows: read from the environment, one prefix, in one place.

| variable              | meaning                                                        | default           |
|-----------------------|----------------------------------------------------------------|-------------------|
| ALTUB_DATA            | data root: MVTec AD categories and the generated sample        | ./data            |
| ALTUB_RUNS            | runs: one folder per training                                  | ./runs            |
| ALTUB_DB              | labels: an SQLite file; images and masks go to a folder beside | labels.db in data |
| ALTUB_WEIGHTS         | folder of <timm name>.safetensors for machines without network | none              |
| ALTUB_MAX_PIXELS      | images with more pixels are refused                            | 100 (40) million  |
| ALTUB_DECODE_SECONDS  | longest time that decoding one image may take                  | 60                |
| ALTUB_MAX_UPLOAD      | largest uploaded file, as "50mb"                               | 50mb              |
| ALTUB_MAX_BODY        | largest request that is no upload, as "2mb"                    | 2mb               |
| ALTUB_TEMP_SIZE       | temporary files of the page, all together, as "2gb"            | 2gb               |
| ALTUB_FEATURE_MEMORY  | cached features kept in memory, in MiB; more goes to disk      | a quarter of RAM  |
| ALTUB_PRECISION       | what precision "auto" means: fp32 or bf16                      | measured          |
| ALTUB_JOBS            | trainings that run at the same time; further ones queue        | 1                 |
| ALTUB_MVTEC_SOURCES   | where MVTec AD comes from: JSON, or the path of a JSON file     | built-in list     |
| ALTUB_MAX_IMAGE_SIZE  | largest image side that a training of the page may ask for     | 4096 (512)        |
| ALTUB_MAX_EPOCHS      | longest training of the page in epochs, 0 = any                | 0                 |
| ALTUB_MAX_MINUTES     | longest training of the page in minutes, queueing excluded     | 0 (60)            |
| ALTUB_MAX_QUEUE       | trainings of the page that may be queued                       | any number (5)    |
| ALTUB_FOLLOW_SECONDS  | seconds between two polls of a remote training                 | 10                |
| ALTUB_SPACE_UPLOADS   | "shared" lets a Space train on uploads, which all visitors see | off               |
| ALTUB_SPACE_VOLUME    | where a Space's persistent storage is mounted                  | /data             |
| ALTUB_AUTH            | user:password that the page asks for                           | none              |
| ALTUB_AUTH_FILE       | a file that holds it                                           | none              |
| ALTUB_ALLOWED_HOSTS   | host names that the page may be reached by, with commas        | the bound one     |
| ALTUB_API_TOKEN       | what programs send to the endpoint for machines, /v1/inspect   | none              |
| ALTUB_LOG_DAYS        | days that the page keeps its inspection log; 0: it has none    | for ever          |
| ALTUB_MQTT_USER       | logs a watched folder in to its MQTT broker                    | none              |
| ALTUB_MQTT_PASSWORD   | the password of that user                                      | none              |
| ALTUB_PLAIN_FRONTEND  | 1: Gradio's scripts as they are, without quicker parts         | quicker ones      |
| ALTUB_STANDBY         | 0: the page has no process ready for the next training         | it has one        |
| ALTUB_WEBHOOK_SECRET  | signs the messages of a watched folder to a webhook            | none              |

Defaults in brackets hold on a Hugging Face Space, where data and runs also go to its persistent storage, if any.

Read beside them: GRADIO_SERVER_NAME and GRADIO_SERVER_PORT (where the page listens), GRADIO_TEMP_DIR (where it keeps
temporary files), and on a Space SYSTEM, SPACE_HOST, OAUTH_CLIENT_ID and SPACES_ZERO_GPU. Of
`torchrun`: RANK, WORLD_SIZE and LOCAL_RANK. Of Ray: RAY_ADDRESS (its cluster).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from altub.errors import ConfigError

_TORCHRUN = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}

__all__ = [
    "allowed_hosts",
    "api_token",
    "auth",
    "auth_file",
    "auto_precision",
    "data_root",
    "decode_seconds",
    "feature_memory_bytes",
    "follow_seconds",
    "gradio_temp_dir",
    "keeps_standby",
    "labels_db",
    "log_days",
    "max_body_bytes",
    "max_epochs",
    "max_image_size",
    "max_jobs",
    "max_minutes",
    "max_pixels",
    "max_queue",
    "max_upload",
    "max_upload_bytes",
    "mqtt_login",
    "mvtec_sources",
    "on_space",
    "plain_frontend",
    "python_path",
    "quiet_ray",
    "ray_address",
    "runs_root",
    "server_name",
    "server_port",
    "space_hosts",
    "space_login",
    "space_volume",
    "sudo_user",
    "temp_bytes",
    "torchrun_place",
    "uploads_are_shared",
    "use_gradio_temp_dir",
    "wait_passively",
    "webhook_secret",
    "weights_root",
    "zero_gpu",
]


def data_root() -> Path:
    """Folder that holds the data sets (``ALTUB_DATA``)."""
    return Path(os.environ.get("ALTUB_DATA") or _kept("data")).expanduser().resolve()


def runs_root() -> Path:
    """Folder that holds one folder per run (``ALTUB_RUNS``)."""
    return Path(os.environ.get("ALTUB_RUNS") or _kept("runs")).expanduser().resolve()


def labels_db() -> Path:
    """The database of the labels (``ALTUB_DB``), by default ``labels.db`` in the data root."""
    value = os.environ.get("ALTUB_DB")
    return Path(value).expanduser().resolve() if value else data_root() / "labels.db"


def log_days() -> int | None:
    """Days that the page keeps what it inspected in the inspection log (``ALTUB_LOG_DAYS``); 0: it logs nothing; None:
    for ever."""
    return _whole_number("ALTUB_LOG_DAYS", 0, least=0) if os.environ.get("ALTUB_LOG_DAYS") else None


def weights_root() -> Path | None:
    """Folder of ``<timm name>.safetensors`` files (``ALTUB_WEIGHTS``), or None where it is not set."""
    value = os.environ.get("ALTUB_WEIGHTS")
    return Path(value).expanduser().resolve() if value else None


def max_pixels() -> int:
    """Images with more pixels than this are refused before they are decoded (``ALTUB_MAX_PIXELS``)."""
    return _whole_number("ALTUB_MAX_PIXELS", 40_000_000 if on_space() else 100_000_000)


def decode_seconds() -> int:
    """Longest time in seconds that decoding one large image may take (``ALTUB_DECODE_SECONDS``)."""
    return _whole_number("ALTUB_DECODE_SECONDS", 60)


def max_upload() -> str:
    """Largest uploaded file in Gradio's notation (``ALTUB_MAX_UPLOAD``)."""
    return os.environ.get("ALTUB_MAX_UPLOAD") or "50mb"


def max_upload_bytes() -> int:
    """The same in bytes."""
    return _size("ALTUB_MAX_UPLOAD", "50mb")


def max_body_bytes() -> int:
    """Largest body, in bytes, of a request to the page that is no upload (``ALTUB_MAX_BODY``)."""
    return _size("ALTUB_MAX_BODY", "2mb")


def temp_bytes() -> int:
    """What the page's temporary files may take on the disk, in bytes (``ALTUB_TEMP_SIZE``)."""
    return _size("ALTUB_TEMP_SIZE", "2gb")


def auto_precision() -> str | None:
    """What a training's precision "auto" means (``ALTUB_PRECISION``); None: what the device does best."""
    value = os.environ.get("ALTUB_PRECISION") or None
    if value not in (None, "fp32", "bf16"):
        raise ConfigError(f"ALTUB_PRECISION is {value!r}: it must be fp32 or bf16.")
    return value


def max_jobs() -> int:
    """How many trainings run at the same time (``ALTUB_JOBS``); the others wait in a queue."""
    return _whole_number("ALTUB_JOBS", 1)


def max_image_size() -> int:
    """Largest image side in pixels that a training of the page may ask for (``ALTUB_MAX_IMAGE_SIZE``)."""
    return _whole_number("ALTUB_MAX_IMAGE_SIZE", 512 if on_space() else 4096)


def max_epochs() -> int:
    """Longest training of the page in epochs (``ALTUB_MAX_EPOCHS``); 0 = any."""
    return _whole_number("ALTUB_MAX_EPOCHS", 0, least=0)


def max_minutes() -> int:
    """Longest training of the page in minutes, all its resumes together (``ALTUB_MAX_MINUTES``); 0 = any."""
    return _whole_number("ALTUB_MAX_MINUTES", 60 if on_space() else 0, least=0)


def max_queue() -> int | None:
    """How many trainings may be queued (``ALTUB_MAX_QUEUE``); None = any number."""
    if not os.environ.get("ALTUB_MAX_QUEUE") and not on_space():
        return None
    return _whole_number("ALTUB_MAX_QUEUE", 5, least=0)


def mvtec_sources() -> str | None:
    """Sources of MVTec AD as JSON text or the path of a JSON file (``ALTUB_MVTEC_SOURCES``), or None where not set.

    `altub.data.sources.parse_sources` documents the format.
    """
    return os.environ.get("ALTUB_MVTEC_SOURCES") or None


def feature_memory_bytes() -> int:
    """Budget for cached features in memory, in bytes (``ALTUB_FEATURE_MEMORY`` is in MiB)."""
    try:
        quarter_of_ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (AttributeError, ValueError, OSError):  # not POSIX
        quarter_of_ram = 4 << 30
    return _whole_number("ALTUB_FEATURE_MEMORY", quarter_of_ram >> 20, least=0) << 20


def follow_seconds() -> int:
    """Seconds between two polls of a training on Hugging Face Jobs (``ALTUB_FOLLOW_SECONDS``)."""
    return _whole_number("ALTUB_FOLLOW_SECONDS", 10)


def auth() -> str | None:
    """What the page asks visitors for, "user:password" (``ALTUB_AUTH``)."""
    return os.environ.get("ALTUB_AUTH") or None


def auth_file() -> Path | None:
    """A file that holds the same (``ALTUB_AUTH_FILE``), such as a mounted secret."""
    value = os.environ.get("ALTUB_AUTH_FILE")
    return Path(value).expanduser() if value else None


def allowed_hosts() -> list[str]:
    """Further host names that the page may be reached by (``ALTUB_ALLOWED_HOSTS``), in lower case."""
    names = (os.environ.get("ALTUB_ALLOWED_HOSTS") or "").split(",")
    return [name.strip().lower() for name in names if name.strip()]


def api_token() -> str:
    """What programs must send to the endpoint for machines (``ALTUB_API_TOKEN``); empty where it is not set."""
    return os.environ.get("ALTUB_API_TOKEN") or ""


def keeps_standby() -> bool:
    """Has the page a process ready for the next training (``ALTUB_STANDBY``)?"""
    return os.environ.get("ALTUB_STANDBY") != "0"


def plain_frontend() -> bool:
    """Are Gradio's scripts served as they are (``ALTUB_PLAIN_FRONTEND=1``), not the quicker ones?"""
    return os.environ.get("ALTUB_PLAIN_FRONTEND") == "1"


def webhook_secret() -> str:
    """What a watched folder signs its messages with (``ALTUB_WEBHOOK_SECRET``); empty where it is not set."""
    return os.environ.get("ALTUB_WEBHOOK_SECRET") or ""


def mqtt_login() -> tuple[str, str]:
    """User and password at an MQTT broker (``ALTUB_MQTT_USER``, ``ALTUB_MQTT_PASSWORD``); empty where not set."""
    return os.environ.get("ALTUB_MQTT_USER") or "", os.environ.get("ALTUB_MQTT_PASSWORD") or ""


def gradio_temp_dir() -> Path | None:
    """Folder that the page's temporary folder is made in (``GRADIO_TEMP_DIR``), or None for the system's."""
    value = os.environ.get("GRADIO_TEMP_DIR")
    return Path(value).expanduser().resolve() if value else None


def use_gradio_temp_dir(folder: Path | None) -> Path | None:
    """Makes Gradio keep its temporary files in this folder, None: where it does by itself; returns the former one."""
    former = os.environ.pop("GRADIO_TEMP_DIR", None)
    if folder is not None:
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return Path(former) if former else None


def server_name() -> str:
    """Address that the page listens on (``GRADIO_SERVER_NAME``); a Space's proxy reaches it from outside."""
    return os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if on_space() else "127.0.0.1")


def server_port() -> int | None:
    """Port that the page listens on (``GRADIO_SERVER_PORT``), or None for the first free one."""
    return _whole_number("GRADIO_SERVER_PORT", 0) or None


def on_space() -> bool:
    """Does this process run in a Hugging Face Space?"""
    return os.environ.get("SYSTEM") == "spaces"


def sudo_user() -> int | None:
    """Number of the user who called this process with sudo (``SUDO_UID``), or None."""
    value = os.environ.get("SUDO_UID") or ""
    return int(value) if value.isdecimal() else None


def space_hosts() -> list[str]:
    """Public host names of the Space that this process runs in, in lower case; several with a domain of its own."""
    names = (os.environ.get("SPACE_HOST") or "").split(",")
    return [name.strip().lower() for name in names if name.strip()]


def space_volume() -> Path | None:
    """A Space's persistent storage (``ALTUB_SPACE_VOLUME``); None elsewhere and where it cannot be written."""
    if not on_space():
        return None
    volume = Path(os.environ.get("ALTUB_SPACE_VOLUME") or "/data")
    return volume if volume.is_dir() and os.access(volume, os.W_OK | os.X_OK) else None


def uploads_are_shared() -> bool:
    """May sets of uploaded images be trained on? On a Space all visitors see them then (``ALTUB_SPACE_UPLOADS``)."""
    return not on_space() or os.environ.get("ALTUB_SPACE_UPLOADS", "").strip().lower() == "shared"


def zero_gpu() -> bool:
    """Does this Space run on ZeroGPU, where there is a GPU only inside of decorated calls?"""
    return on_space() and os.environ.get("SPACES_ZERO_GPU", "").strip().lower() in ("1", "t", "true")


def torchrun_place() -> tuple[int, int, int]:
    """(rank, processes, rank on this machine) that `torchrun` gave this process; (0, 1, 0) without it."""
    if "RANK" not in os.environ:
        return 0, 1, 0
    rank, size, local = (int(os.environ.get(name, other)) for name, other in _TORCHRUN.items())
    return rank, size, local


def python_path() -> str:
    """PYTHONPATH, for processes that shall find what this one finds."""
    return os.environ.get("PYTHONPATH", "")


def ray_address() -> str | None:
    """Ray's cluster (``RAY_ADDRESS``), "host:port"; None where it is not set."""
    return os.environ.get("RAY_ADDRESS") or None


def quiet_ray() -> None:
    """Before Ray is imported: unless the environment says otherwise, it reports no usage to its makers, and its part in
    C++ prints nothing below a fatal error (Ray Data's own actors give it cause for some)."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as Ray will do by itself; else it warns


def wait_passively() -> None:
    """Lets OpenMP's threads sleep instead of spin while they wait.

    Spinning is faster on an idle machine by a little, and slower by a lot where a training shares its cores with the
    page, a browser or a second training: a thread then spends its time slice waiting for one that has no core.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _kept(name: str) -> Path:
    volume = space_volume()
    return volume / "altub" / name if volume is not None else Path(name)


def space_login() -> bool:
    """Can visitors of this Space sign in (``hf_oauth: true`` on its card gives it ``OAUTH_CLIENT_ID``)?"""
    return on_space() and bool(os.environ.get("OAUTH_CLIENT_ID"))


def _size(name: str, default: str) -> int:
    """Bytes from a size in Gradio's notation: a whole number and B, KB, MB, GB or TB, steps of 1024."""
    text = os.environ.get(name) or default
    found = re.fullmatch(r"([0-9]+)\s*(b|kb|mb|gb|tb)", text.strip().lower())
    if found is None or int(found[1]) < 1:
        raise ConfigError(f"{name} is {text!r}: it must be a size such as {default}.")
    return int(found[1]) << 10 * ("b", "kb", "mb", "gb", "tb").index(found[2])


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
