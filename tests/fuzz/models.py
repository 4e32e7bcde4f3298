"""Hostile models: a good one whose settings or weights were changed, with a checksum that fits or not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import numpy as np

from tests.fuzz.mutations import damaged_bytes, damaged_json, generator, hostile_json_text, pick

__all__ = ["hostile_models"]

DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8"}


def hostile_models(seed: int, count: int, config: bytes, weights: bytes) -> Iterator[tuple[str, bytes, bytes]]:
    """(what was done, config.json, model.safetensors) of `count` models made from a good one."""
    for number in range(count):
        rng = generator(seed, number)
        match number % 5:
            case 0 | 1:
                yield f"model {number} (settings)", hostile_json_text(rng, config), weights
            case 2:
                changed = _damaged_header(rng, weights)
                yield f"model {number} (header)", _signed(config, changed), changed
            case 3:
                changed = _hostile_values(rng, weights)
                yield f"model {number} (values)", _signed(config, changed), changed
            case _:
                changed = damaged_bytes(rng, weights)
                signed = rng.random() < 0.7
                yield f"model {number} (bytes)", _signed(config, changed) if signed else config, changed


def _signed(config: bytes, weights: bytes) -> bytes:
    """Whoever sends a model also writes its settings."""
    return json.dumps({**json.loads(config), "weights_sha256": hashlib.sha256(weights).hexdigest()}).encode()


def _parts(weights: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(weights[:8], "little")
    return weights[8 : 8 + length], weights[8 + length :]


def _damaged_header(rng: np.random.Generator, weights: bytes) -> bytes:
    header, tensors = _parts(weights)
    if rng.random() < 0.3:
        header = hostile_json_text(rng, header)
    else:
        header = json.dumps(damaged_json(rng, json.loads(header))).encode("utf-8", "surrogatepass")
    length = pick(rng, (len(header),) * 8 + (0, len(header) + 1, 2**40, 2**64 - 1))
    return length.to_bytes(8, "little") + header + tensors


def _hostile_values(rng: np.random.Generator, weights: bytes) -> bytes:
    """Tensors of the right shapes with numbers that no training makes."""
    header, data = _parts(weights)
    tensors = bytearray(data)
    entries = [entry for name, entry in json.loads(header).items() if name != "__metadata__"]
    for _ in range(int(rng.integers(1, 4))):
        entry = pick(rng, entries)
        start, end = entry["data_offsets"]
        kind = np.dtype(DTYPES.get(entry["dtype"], "u1"))
        values = np.frombuffer(bytes(tensors[start:end]), kind).copy()
        if not values.size:
            continue
        wrong = (np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0) if kind.kind == "f" else (-1, 0, 1, 255, 2**62)
        chosen = rng.random(values.shape) < pick(rng, (0.02, 0.5, 1.1))
        wrong = pick(rng, wrong)
        values[chosen] = wrong if kind.kind == "f" else wrong % (1 << 8 * kind.itemsize - 1)
        tensors[start:end] = values.tobytes()
    return len(header).to_bytes(8, "little") + header + bytes(tensors)
