"""Is a repo on the Hub an AltUB model? Checked by names, sizes and config.json before weights are fetched."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from altub.backbones.catalogue import is_known
from altub.errors import validation_problem
from altub.hub.errors import HubError
from altub.inference.config import ModelConfig
from altub.inference.info import ModelInfo
from altub.inference.model_files import CONFIG_FILE, FORMAT_VERSION, WEIGHTS_FILE
from altub.training.config import TrainingConfig
from altub.version import __version__

__all__ = [
    "CARD_FILE",
    "HISTORY_FILE",
    "LIMITS",
    "PushedConfig",
    "PushedInfo",
    "check_content",
    "check_listing",
    "git_blob_id",
    "parse_pushed_config",
]

CARD_FILE, HISTORY_FILE = "README.md", "training.json"
#: Bytes that a file may have at most; only these four are ever fetched.
LIMITS = {CONFIG_FILE: 1 << 20, CARD_FILE: 1 << 20, HISTORY_FILE: 64 << 20, WEIGHTS_FILE: 4 << 30}

_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".npy", ".npz", ".dill")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class PushedInfo(ModelInfo):
    """What config.json tells of the training; the page shows it, so it is checked like everything from outside."""

    category: str = Field("unknown", min_length=1, max_length=200)
    data: str = Field("own", max_length=200)

    @field_validator("training")
    @classmethod
    def _training_is_settings(cls, training: dict[str, Any] | None) -> dict[str, Any] | None:
        if training is not None:
            TrainingConfig.stored({**training, "data": "sample"})
        return training


def check_listing(repo: str, names: Iterable[str], sizes: Mapping[str, int | None]) -> None:
    """Refuses a repo whose list of files is not that of a model.

    Raises:
        HubError: a name leads out of the folder, a file is missing or larger than a model's may be.
    """
    names = list(names)
    for name in names:
        if name.startswith(("/", "~")) or "\\" in name or ":" in name or ".." in name.split("/"):
            raise HubError(f"{repo} lists a file that leads out of its folder ({name[:80]!r}): nothing was fetched.")
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if name not in names]
    if missing:
        pickles = [name for name in names if name.lower().endswith(_PICKLES)]
        why = f" It has {pickles[0][:80]}, but AltUB never loads pickled files." if pickles else ""
        verb = "is" if len(missing) == 1 else "are"
        raise HubError(f"{repo} is not an AltUB model: {' and '.join(missing)} {verb} missing.{why}")
    for name, limit in LIMITS.items():
        size = sizes.get(name)
        if size is not None and size > limit:
            raise HubError(
                f"{name} in {repo} has {size / 1e6:,.0f} MB, more than the {limit / 1e6:,.0f} MB allowed: nothing was "
                "fetched."
            )


def check_content(path: Path, size: int | None, sha256: str | None, blob_id: str | None) -> bool:
    """Is the file the one that the Hub lists? By its size, and by its SHA-256 (LFS) or git hash."""
    if size is not None and path.stat().st_size != size:
        return False
    if sha256 is not None:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    return blob_id is None or git_blob_id(path.read_bytes()) == blob_id


def git_blob_id(content: bytes) -> str:
    """The name that git gives to a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class PushedConfig(ModelConfig):
    """config.json of a pushed model."""

    calibration: dict[str, Any] | None = None
    info: PushedInfo = PushedInfo()


def parse_pushed_config(repo: str, content: bytes) -> PushedConfig:
    """config.json of an AltUB model, checked as far as possible without its weights.

    Raises:
        HubError: it is another kind of model, of a newer format, names a pickle or an unknown architecture.
    """

    config = _read(repo, content)
    if not isinstance(config, dict) or config.get("format") != "altub":
        raise HubError(
            f'{repo} holds another kind of model: its {CONFIG_FILE} lacks "format": "altub". AltUB reads models that '
            "were pushed by AltUB."
        )
    version = config.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise HubError(f"{CONFIG_FILE} of {repo} is damaged: it has no format_version.")
    if version > FORMAT_VERSION:
        raise HubError(
            f"{repo} has format {version}, newer than this version of AltUB ({__version__}, format {FORMAT_VERSION}) "
            "reads: update AltUB."
        )
    for text in _strings({key: value for key, value in config.items() if key not in ("info", "packages")}):
        if text.lower().endswith(_PICKLES):
            raise HubError(
                f"{CONFIG_FILE} of {repo} names a pickled file ({text[:80]!r}), which could run any code: AltUB only "
                "loads safetensors."
            )
    sha256 = config.get("weights_sha256")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise HubError(f"{CONFIG_FILE} of {repo} is damaged: it lacks the SHA-256 of the weights.")
    try:
        pushed = PushedConfig.model_validate(config)
    except ValidationError as error:
        raise HubError(f"{CONFIG_FILE} of {repo} is damaged ({validation_problem(error)}).") from error
    backbone = pushed.detector.backbone
    if not is_known(backbone):
        raise HubError(
            f"{repo} runs on the architecture {backbone[:80]!r}, which the installed timm does not know: update timm, "
            "register it with altub.backbones.register_backbone if it is your own, or choose another model."
        )
    return pushed


def _read(repo: str, content: bytes) -> Any:
    try:
        return json.loads(content.decode())
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or nested to break the reader
        raise HubError(f"{CONFIG_FILE} of {repo} is damaged: it is not JSON.") from error


def _strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, keys too; without recursion, as the value comes from outside."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            left += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            left += item
