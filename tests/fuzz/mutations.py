"""Damage to bytes and to JSON, drawn from a random generator."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np

__all__ = ["damaged_bytes", "damaged_json", "generator", "hostile_json_text", "pick"]

NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

HOSTILE_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, 2**31, 2**63, -(2**63), 10**30, 10**400, 1e308, -0.0),
    *(float("nan"), float("inf"), float("-inf")),
    *("", " ", "0", "1", "NaN", "x" * 100_000, "../../../etc/passwd", "/etc/passwd", "a\0b", "a\nb\r\nc", "\u202eabc"),
    *("<script>alert(1)</script>", "\ud800", "{}", "resnet18.tv_in1k", "2" * 5000, "🎉" * 1000),
    *([], {}, [[]], [None], [1] * 10_000, [[[[[[[[1]]]]]]]], {"a": {"b": {"c": 1}}}, {"": ""}, [float("nan")] * 3),
    {str(index): index for index in range(2000)},
)


def generator(seed: int, number: int) -> np.random.Generator:
    """The random numbers of one case."""
    return np.random.default_rng([seed, number])


def pick(rng: np.random.Generator, values: Any) -> Any:
    """One of `values`."""
    values = list(values)
    return values[int(rng.integers(len(values)))]


def damaged_bytes(rng: np.random.Generator, content: bytes) -> bytes:
    """`content` cut off, with other bytes in it, with parts moved, or with more behind it."""
    data = bytearray(content or b"\0")
    at = int(rng.integers(len(data)))
    match int(rng.integers(9)):
        case 0:
            return bytes(data[:at])
        case 1:
            for _ in range(int(rng.integers(1, 20))):
                data[int(rng.integers(len(data)))] = int(rng.integers(256))
        case 2:
            data[at] ^= 1 << int(rng.integers(8))
        case 3:  # a number in the header
            at = int(rng.integers(min(len(data), 128)))
            data[at : at + 4] = pick(rng, NUMBERS).to_bytes(4, pick(rng, ("big", "little")))
        case 4:
            data[at : at + int(rng.integers(1, 64))] = bytes(int(rng.integers(1, 64)))
        case 5:
            del data[at : at + int(rng.integers(1, 64))]
        case 6:
            data[at:at] = rng.bytes(int(rng.integers(1, 64)))
        case 7:
            data[at:at] = data[: int(rng.integers(len(data)))]
        case _:
            data += rng.bytes(int(rng.integers(1, 1000)))
    return bytes(data)


def damaged_json(rng: np.random.Generator, value: Any) -> Any:
    """A copy of `value` in which something, at any depth, is missing, too much or of another kind."""
    value = copy.deepcopy(value)
    places = list(_places(value))
    if not places:
        return pick(rng, HOSTILE_VALUES)
    for _ in range(int(rng.integers(1, 4))):
        parent, key = pick(rng, places)
        try:
            match int(rng.integers(6)):
                case 0:
                    del parent[key]
                case 1 if isinstance(parent, dict):
                    parent[pick(rng, ("more", "", "__class__", "x" * 5000, key))] = parent.pop(key)
                case 2 if isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
                    parent[key] = parent[key] * pick(rng, (-1, 2, 1000, 1e300)) + pick(rng, (0, 1, 0.5))
                case _:
                    parent[key] = copy.deepcopy(pick(rng, HOSTILE_VALUES))
        except (KeyError, IndexError, OverflowError):  # an earlier change took it away, or it has no such number
            continue
    return value


def hostile_json_text(rng: np.random.Generator, content: bytes) -> bytes:
    """A JSON file that is damaged as a text, or whose values are."""
    if rng.random() < 0.6:
        return json.dumps(damaged_json(rng, json.loads(content))).encode("utf-8", "surrogatepass")
    deep = int(pick(rng, (900, 5_000, 200_000)))
    return pick(
        rng,
        (
            *(damaged_bytes(rng, content), damaged_bytes(rng, content), b"", b"{", b"null", b"[]", b"\0" * 100),
            *(b"[" * deep, b"[" * deep + b"]" * deep, b'{"a":' * deep + b"1" + b"}" * deep),
            *(b"\xef\xbb\xbf" + content, content.decode().encode("utf-16"), content + content, b"9" * 10_000),
            *(content.replace(b"1", b"9" * 5000, 1), content.replace(b'"', b"\xff", 1), rng.bytes(200)),
        ),
    )


def _places(value: Any) -> Any:
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])
