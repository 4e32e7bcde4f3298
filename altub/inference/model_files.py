"""The two files of a saved model, replaced such that a reader finds a whole model at every moment.

    config.json          what the model is, with the SHA-256 of its weights
    model.safetensors    flow, bases and calibration
    model.safetensors.next   only for an instant, or after a writer was killed: the weights that config.json names

Two files cannot be replaced in one step. The new weights are therefore put beside the old ones first, then config.json
is replaced, then the new weights take their place: config.json always names weights that are there.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from altub.errors import ModelError, validation_problem
from altub.files import explain_full_disk, read_bytes, read_json, write_atomically, write_json
from altub.flows.config import unknown_flow
from altub.inference.config import ModelConfig
from altub.version import __version__

__all__ = [
    "CONFIG_FILE",
    "FORMAT_VERSION",
    "WEIGHTS_FILE",
    "parse_config",
    "read_config",
    "read_header",
    "read_model",
    "replace_model",
    "write_model",
]

FORMAT_VERSION = 1
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
NEXT_WEIGHTS_FILE = WEIGHTS_FILE + ".next"
READ_ATTEMPTS = 5  # a trainer may replace the files between our reads


def write_model(folder: Path, config: dict[str, Any], weights: bytes) -> None:
    """Replaces the model in `folder`; format, version and hash are added to `config`.

    Raises:
        DiskFullError: no room; the model that was there still is.
    """
    with explain_full_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    named = {"format": "altub", "format_version": FORMAT_VERSION, "weights_sha256": _sha256(weights)}
    replace_model(folder, named | config, weights)


def replace_model(folder: Path, config: dict[str, Any], weights: bytes | None) -> None:
    """Replaces the model in `folder` by one that `read_model` returned.

    Args:
        weights: None: those in `folder`, which must be the ones that the config names.

    Raises:
        DiskFullError: no room; the model that was there still is.
    """
    if _interrupted(folder):
        os.replace(folder / NEXT_WEIGHTS_FILE, folder / WEIGHTS_FILE)
    if weights is None:
        write_json(folder / CONFIG_FILE, config)
        return
    write_atomically(folder / NEXT_WEIGHTS_FILE, weights)
    write_json(folder / CONFIG_FILE, config)
    os.replace(folder / NEXT_WEIGHTS_FILE, folder / WEIGHTS_FILE)


def read_model(folder: Path) -> tuple[dict[str, Any], bytes]:
    """config.json, and the bytes of the weights that it names.

    Raises:
        ModelError: a file is missing or damaged, or of a newer format.
    """
    found = False
    for attempt in range(READ_ATTEMPTS):
        config = _read_config(folder)
        for name in (WEIGHTS_FILE, NEXT_WEIGHTS_FILE):
            try:
                weights = read_bytes(folder / name)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise ModelError(f"{folder / name} cannot be read: {error.strerror}.") from error
            found = True
            if _sha256(weights) == config.get("weights_sha256"):
                return config, weights
        time.sleep(0.05 * (attempt + 1))
    if not found:
        raise ModelError(
            f"There is no model in {folder}: {WEIGHTS_FILE} is missing. A model is a run's `model` folder."
        )
    raise ModelError(
        f"{folder / WEIGHTS_FILE} is damaged: its checksum is not the one in {CONFIG_FILE}. Fetch or train it again."
    )


def read_config(folder: Path) -> ModelConfig:
    """What the model in `folder` says of itself; its weights are not looked at.

    Raises:
        ModelError: config.json is missing or damaged, or of a newer format.
    """
    return parse_config(_read_config(folder), folder)


def parse_config(config: dict[str, Any], folder: Path) -> ModelConfig:
    """The typed form of a config.json that `read_model` returned for `folder`.

    Raises:
        ModelError: an entry is missing or is not what it should be.
    """
    try:
        return ModelConfig.model_validate(config)
    except ValidationError as error:
        if (unregistered := unknown_flow(error)) is not None:
            raise ModelError(f"The model in {folder} cannot be loaded. {unregistered}") from error
        raise ModelError(
            f"The model in {folder} is damaged ({validation_problem(error)}). Fetch or train it again."
        ) from error


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    try:
        config = json.loads(read_bytes(path).decode())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError(
            f"There is no model in {folder}: {CONFIG_FILE} is missing. A model is a run's `model` folder."
        ) from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or nested to break the reader
        raise ModelError(f"{path} is damaged ({error}). Fetch or train the model again.") from error
    if not isinstance(config, dict) or config.get("format") != "altub":
        raise ModelError(f"{path} does not describe an AltUB model. A model is a run's `model` folder.")
    version = config.get("format_version")
    if not isinstance(version, int):
        raise ModelError(f"{path} is damaged: it has no format_version. Fetch or train the model again.")
    if version > FORMAT_VERSION:
        raise ModelError(
            f"The model in {folder} has format {version}, newer than this version of AltUB "
            f"({__version__}, format {FORMAT_VERSION}) reads: update AltUB."
        )
    return config


def read_header(content: bytes) -> dict[str, Any]:
    """The header of a safetensors file: each tensor's type, shape and place, and the "__metadata__".

    Raises:
        ValueError: it is cut off, or no such file.
    """
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= len(content) - 8:
        raise ValueError("it is cut off or no safetensors file")
    try:
        header = json.loads(content[8 : 8 + length])
    except RecursionError as error:
        raise ValueError("its header is damaged") from error
    if not isinstance(header, dict):
        raise ValueError("its header is damaged")
    return header


def _interrupted(folder: Path) -> bool:
    """Was a writer killed between its last two steps, so that config.json names the weights beside the old ones?"""
    try:
        named = read_json(folder / CONFIG_FILE)["weights_sha256"]
        return _sha256(read_bytes(folder / NEXT_WEIGHTS_FILE)) == named
    except (OSError, ValueError, KeyError, TypeError):  # nothing was interrupted, or what is there was no model
        return False


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
