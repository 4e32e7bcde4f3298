"""The process that `process` starts: decodes one image after another, and ends when nobody has asked for a while."""

from __future__ import annotations

import io
import json
import os
import select
import sys
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from altub.data.images.depth import PixelRange
from altub.data.images.pending import Rules, pending
from altub.errors import ImageError

__all__ = ["main"]

IDLE_SECONDS = 60.0
NICENESS = 5  # ordinary images come first
BYTES_PER_PIXEL, BYTES_BESIDE = 32, 2 << 30  # of the address space that decoding may take
STRIP_BYTES = 4 << 20  # sent at a time


def main() -> int:
    """Reads requests from stdin and writes images to stdout, until stdin is closed."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    while _is_asked(requests):
        line = requests.readline()
        if not line:
            return 0
        request = json.loads(line)
        _limit_memory(request["max_pixels"])
        # The file's bytes come through the pipe where it is no path: all are read, or the next request would be among
        # them.
        source = Path(request["path"]) if request["path"] is not None else io.BytesIO(requests.read(request["bytes"]))
        _answer(request, source, answers)
    return 0


def _answer(request: dict[str, Any], source: Path | BinaryIO, answers: BinaryIO) -> None:
    given = request["pixel_range"]
    white = PixelRange(**given) if given else None
    rules = Rules(request["max_pixels"], white, request["fit"], request["enough"], apart=False)
    try:
        with pending(source, rules) as undecoded:
            image = undecoded.read()
    except ImageError as error:
        message = str(error)
        if request["path"] is None:
            message = message.replace("The uploaded file", request["name"], 1)
        answers.write(json.dumps({"error": message}).encode() + b"\n")
    except MemoryError:
        message = f"{request['name']} does not fit in memory: use a smaller image."
        answers.write(json.dumps({"error": message}).encode() + b"\n")
    else:
        answers.write(json.dumps({"mode": image.mode, "size": image.size}).encode() + b"\n")
        _send(image, answers)
    answers.flush()


def _send(image: Image.Image, answers: BinaryIO) -> None:
    rows = max(1, STRIP_BYTES // (image.width * len(image.getbands())))
    for top in range(0, image.height, rows):
        answers.write(image.crop((0, top, image.width, min(top + rows, image.height))).tobytes())


def _is_asked(requests: BinaryIO) -> bool:
    """False after `IDLE_SECONDS` without a request."""
    try:
        return bool(select.select([requests], [], [], IDLE_SECONDS)[0])
    except (OSError, ValueError):  # Windows: no waiting for pipes with a limit
        return True


def _limit_memory(max_pixels: int) -> None:
    """Where the operating system can, an allocation beyond what an image may need fails, instead of the machine."""
    try:
        import resource
    except ImportError:  # Windows
        return
    wanted = BYTES_BESIDE + BYTES_PER_PIXEL * max_pixels
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


if __name__ == "__main__":
    sys.exit(main())
