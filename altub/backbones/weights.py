"""Pretrained weights for frozen backbones: where they come from, loaded strictly or not at all.

Sources, in this order:

1. ``<name>.safetensors`` in the folder of ``ALTUB_WEIGHTS``, where ``<name>`` is the timm name that was asked for. For
   a name without a tag (``resnet18``) the file of the tag that timm means by it (``resnet18.a1_in1k``) is taken as
   well; never the other way round, because a tag says which weights are meant.
2. The Hugging Face cache of this machine.
3. The Hugging Face Hub, probed first: a machine without network gets its answer in seconds.

Only safetensors files are read. Every parameter and buffer of the network that is filled must be in the file with
its shape; what the file holds beyond that (unused stages, the classifier) is ignored.
"""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from altub import settings
from altub.errors import DiskFullError, WeightsError

__all__ = [
    "HubFile",
    "WeightsInfo",
    "WeightsSource",
    "find_in_cache",
    "find_in_folder",
    "hash_tensors",
    "load_strictly",
    "probe_hub",
    "weight_sources",
]

PROBE_SECONDS = 3.0  # a Hub that has not answered by then counts as out of reach

# Counters of training steps: not read in eval mode, and absent from files that were exported without them.
_UNUSED_SUFFIX = "num_batches_tracked"


@dataclass(frozen=True)
class WeightsInfo:
    """Which weights a backbone runs on; goes into saved models, so it names no folder of this machine."""

    source: Literal["hub", "cache", "file", "random", "none", "module"]
    sha256: str
    """Hash of the tensors in use (:func:`hash_tensors`), the same for a partial and a complete file."""
    location: str
    """File name, Hub id, or the name of a module of the user's own."""


@dataclass(frozen=True)
class HubFile:
    """One safetensors file on the Hub."""

    repo_id: str
    filename: str = "model.safetensors"
    revision: str | None = None


@dataclass(frozen=True)
class WeightsSource:
    """A file of weights on this machine, and how it came here."""

    source: Literal["hub", "cache", "file"]
    path: Path
    location: str


# ---------------------------------------------------------------------------------------------------- finding


def find_in_folder(*names: str) -> Path | None:
    """First of ``<name>.safetensors`` that lies in the folder of ``ALTUB_WEIGHTS``."""
    root = settings.weights_root()
    if root is None:
        return None
    for name in names:
        path = root / f"{name}.safetensors"
        if path.is_file():
            return path
    return None


def find_in_cache(file: HubFile) -> Path | None:
    """The file in the local Hugging Face cache; asks no network."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(file.repo_id, file.filename, revision=file.revision)
    return Path(found) if isinstance(found, str) else None


_reach: dict[str, str] = {}  # Hub file -> "" where it is available, else the reason why not; "*" is the Hub itself
_reach_lock = threading.Lock()


def probe_hub(file: HubFile, *, fresh: bool = False) -> str:
    """Ask the Hub for the head of ``file``: "" where it is available, else the reason in a few words.

    Takes :data:`PROBE_SECONDS` at most. The answer is kept for the life of the process; ``fresh`` asks again.
    Respects ``HF_ENDPOINT``, ``HF_HUB_OFFLINE`` and the proxy settings through huggingface_hub.
    """
    from huggingface_hub import constants, hf_hub_url

    if constants.HF_HUB_OFFLINE:
        return "offline mode is on (HF_HUB_OFFLINE)"
    key = f"{file.repo_id}/{file.filename}"
    with _reach_lock:
        if not fresh:
            for known in ("*", key):
                if known in _reach:
                    return _reach[known]
        url = hf_hub_url(file.repo_id, file.filename, revision=file.revision)
        status = _head(url)
        if isinstance(status, str):
            _reach["*"] = reason = f"the Hub at {constants.ENDPOINT} cannot be reached ({status})"
        else:
            _reach.pop("*", None)
            if status < 400:
                reason = ""
            else:
                reason = f"the Hub at {constants.ENDPOINT} answered {status} for {file.repo_id}"
            _reach[key] = reason
        return reason


def _head(url: str) -> int | str:
    """HTTP status of a HEAD request without redirects, or in words why there is none."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers

    answer: list[int | str] = []

    def ask() -> None:
        try:
            response = get_session().head(
                url, headers=build_hf_headers(), timeout=PROBE_SECONDS, follow_redirects=False
            )
            answer.append(int(response.status_code))
        except Exception as error:  # the client library differs by version (requests, httpx, httpx2): all mean "no"
            answer.append(type(error).__name__)

    # A thread, because a name server that does not answer is beyond the client's timeouts.
    thread = threading.Thread(target=ask, name="altub-hub-probe", daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return answer[0] if answer else f"no answer within {PROBE_SECONDS:.0f} seconds"


def _download(file: HubFile) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(file.repo_id, file.filename, revision=file.revision))
    except Exception as error:  # three client libraries, five Hub errors, OSError: all mean that no file came
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise DiskFullError(
                f"The disk is full: {file.repo_id} could not be stored in the Hugging Face cache. "
                "Make room, or set HF_HOME to a folder on another disk."
            ) from error
        with _reach_lock:
            _reach[f"{file.repo_id}/{file.filename}"] = "the download failed"
        reason = str(error).strip().splitlines()
        raise WeightsError(
            f"the download of {file.repo_id} failed ({type(error).__name__}{': ' + reason[0][:200] if reason else ''})"
        ) from error


def weight_sources(
    name: str, aliases: tuple[str, ...], file: HubFile | None, *, download: bool = True
) -> Iterator[WeightsSource]:
    """Yield the files that may hold the weights of ``name``, best first; the Hub is asked last.

    Args:
        name: the timm name that was asked for.
        aliases: further file names that mean the same weights.
        file: where the Hub has them; None where timm knows of none.
        download: False: what is not on this machine is not fetched.

    Raises:
        WeightsError: after the last source, where there was none; says what was tried and the ways out.
    """
    tried: list[str] = []
    found = False

    path = find_in_folder(name, *aliases)
    if path is not None:
        found = True
        yield WeightsSource("file", path, path.name)
    elif settings.weights_root() is None:
        tried.append("no weights folder is set (ALTUB_WEIGHTS)")
    else:
        tried.append(f"{name}.safetensors is not in {settings.weights_root()}")

    if file is None:
        tried.append("timm names no pretrained weights for it on the Hugging Face Hub")
    else:
        path = find_in_cache(file)
        if path is not None:
            found = True
            yield WeightsSource("cache", path, file.repo_id)
        else:
            tried.append(f"{file.repo_id} is not in the Hugging Face cache")
            reason = probe_hub(file, fresh=True) if download else "it is not downloaded without being asked for"
            if not reason:
                try:
                    path = _download(file)
                except WeightsError as error:
                    reason = str(error)
                else:
                    found = True
                    yield WeightsSource("hub", path, file.repo_id)
            if reason:
                tried.append(reason)

    if not found:
        raise WeightsError(
            f"No pretrained weights for {name}: {'; '.join(tried)}. Go online once, or set ALTUB_WEIGHTS to a "
            f"folder with {name}.safetensors, or use --backbone filter-bank, which needs no weights."
        )


# ---------------------------------------------------------------------------------------------------- loading


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over sorted names, dtypes, shapes and bytes; counters of training steps are left out."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if name.endswith(_UNUSED_SUFFIX):
            continue
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_strictly(
    model: nn.Module,
    source: WeightsSource,
    convert: Callable[[dict[str, Tensor], nn.Module], Mapping[str, Tensor]] | None = None,
) -> WeightsInfo:
    """Fill every parameter and buffer of ``model`` from a safetensors file.

    Floats of any width in the file become the model's (float32). A model on the meta device is given memory.

    Args:
        model: a network already cut down to what is used.
        source: the file.
        convert: tried where names are missing: from the file's tensors to the model's names and shapes (timm's
            filters for older checkpoints).

    Raises:
        WeightsError: the file is damaged, lacks a tensor, or has one of another shape or with a value that is not
            finite. The model is unchanged then.
    """
    from safetensors import SafetensorError, safe_open

    wanted = model.state_dict()
    try:
        with safe_open(source.path, framework="pt") as file:
            present = set(file.keys())
            tensors = {key: file.get_tensor(key) for key in wanted if key in present}
            if convert is not None and _missing(wanted, tensors):
                everything = {key: file.get_tensor(key) for key in present}
                tensors |= _converted(convert, everything, model)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{source.path} is damaged or no safetensors file ({error}). Delete it and fetch it again."
        ) from error

    missing = _missing(wanted, tensors)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise WeightsError(
            f"{source.path} lacks weights that the chosen stages need: {', '.join(missing[:3])}{more}. "
            "Use a complete file, or stages that the file covers."
        )
    filled: dict[str, Tensor] = {}
    for key, target in wanted.items():
        if key not in tensors:  # a counter of training steps
            filled[key] = torch.zeros(target.shape, dtype=target.dtype)
            continue
        tensor = tensors[key]
        if tensor.shape != target.shape:
            raise WeightsError(
                f"{source.path} does not fit the network: {key} has shape {tuple(tensor.shape)}, "
                f"needed is {tuple(target.shape)}. Use the file of this very model."
            )
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{source.path} is damaged: {key} holds values that are not finite. Fetch it again.")
        # A copy: what safetensors gives is mapped to the file, which somebody may overwrite or cut off in place.
        filled[key] = tensor.to(dtype=target.dtype, copy=True)
    model.load_state_dict(filled, strict=True, assign=any(t.is_meta for t in wanted.values()))
    return WeightsInfo(source.source, hash_tensors(model.state_dict()), source.location)


def _converted(
    convert: Callable[[dict[str, Tensor], nn.Module], Mapping[str, Tensor]],
    tensors: dict[str, Tensor],
    model: nn.Module,
) -> dict[str, Tensor]:
    try:
        converted = convert(tensors, model)
    except Exception:  # a filter may stumble in any way over a layout that is not its own: then names stay missing
        return {}
    own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    # A filter may fill gaps from the model itself: those are the random values that must not stay.
    return {key: t for key, t in converted.items() if isinstance(t, Tensor) and not t.is_meta and id(t) not in own}


def _missing(wanted: Mapping[str, Tensor], present: Mapping[str, Tensor] | set[str]) -> list[str]:
    return [key for key in wanted if key not in present and not key.endswith(_UNUSED_SUFFIX)]
