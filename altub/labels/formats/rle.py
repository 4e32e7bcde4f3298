"""Run lengths of COCO: how many pixels are 0, then 1, then 0, ..., column by column; as a list, or packed into text.

Packed, each number (from the fourth on its difference to the one two before) is written five bits at a time, lowest
first, as characters from "0" on; a sixth bit says that more follow. Format: https://github.com/cocodataset/cocoapi
"""

from __future__ import annotations

from typing import Any

import numpy as np

from altub.errors import DataError

__all__ = ["decode_rle", "encode_rle"]

_FIRST, _BITS, _MORE, _SIGN = 48, 5, 1 << 5, 1 << 4
_LONGEST = 12  # characters of a number


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """A bool mask (H, W) as {"size": [H, W], "counts": text}.

    Example:
        >>> encode_rle(np.array([[0, 1], [0, 1]], dtype=bool))
        {'size': [2, 2], 'counts': '22'}
    """
    flat = np.asarray(mask, bool).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    if flat[:1].any():
        counts.insert(0, 0)  # the first run is of zeros
    return {"size": list(mask.shape), "counts": _pack(counts)}


def decode_rle(rle: Any, size: tuple[int, int]) -> np.ndarray:
    """The bool mask (H, W) of run lengths, packed or not.

    Args:
        size: (width, height) of the image.

    Raises:
        DataError: they are damaged, or of another size.
    """
    width, height = size
    try:
        counts = rle["counts"]
        counts = _unpack(counts) if isinstance(counts, str) else [int(count) for count in counts]
        given = [int(side) for side in rle["size"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError("A mask in run lengths is damaged: export it again.") from error
    if given != [height, width] or min(counts, default=0) < 0 or sum(counts) != width * height:
        raise DataError(f"A mask in run lengths does not fit its image of {width} x {height} pixels.")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")


def _pack(counts: list[int]) -> str:
    text = []
    for place, count in enumerate(counts):
        number = count - counts[place - 2] if place > 2 else count
        while True:
            bits, number = number & (_MORE - 1), number >> _BITS
            done = number == (-1 if bits & _SIGN else 0)
            text.append(chr(_FIRST + (bits if done else bits | _MORE)))
            if done:
                break
    return "".join(text)


def _unpack(text: str) -> list[int]:
    counts: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - _FIRST
        if not 0 <= bits < 2 * _MORE or shift > _LONGEST * _BITS:
            raise ValueError("no run lengths")
        number |= (bits & (_MORE - 1)) << shift
        shift += _BITS
        if not bits & _MORE:
            if bits & _SIGN:
                number -= 1 << shift
            counts.append(number + counts[-2] if len(counts) > 2 else number)
            number = shift = 0
    if shift:
        raise ValueError("cut off")
    return counts
