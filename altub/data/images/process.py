"""Decoding in another process, which can be ended: for images that may take long.

Most images are decoded where they are needed. Those that are large, or whose format is slow, go to a process that
`worker` runs: it has a time limit, its memory goes back to the operating system, and the page's other visitors do not
wait for the interpreter's lock. A process is kept for the next image; one that is not used for a while ends.

What goes through its pipes: a line of JSON with the request, followed by the file's bytes where it is not a path; then
a line of JSON with the image's mode and size, or an error, and the rows of the image.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import asdict
from typing import Any

from PIL import Image

from altub import settings
from altub.data.images.depth import PixelRange
from altub.data.images.sources import Encoded
from altub.errors import ImageError
from altub.files import PACKAGE

__all__ = ["decode_in_process"]

KEPT = 2  # processes without work
STRIP_BYTES = 4 << 20  # received at a time
CHANNELS = {"L": 1, "RGB": 3}
_START = (
    f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); "
    "from altub.data.images.worker import main; sys.exit(main())"
)


class _EndedError(Exception):
    """The process ended before its answer was complete."""


class _Decoder:
    def __init__(self) -> None:
        self.owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # One thread is all that it uses; each further one of numpy's would reserve memory.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )

    def decode(self, encoded: Encoded, request: dict[str, Any], seconds: float) -> Image.Image:
        """
        Raises:
            ImageError: the process says so.
            _EndedError: it ended by itself.
            TimeoutError: it was ended after so many seconds.
        """
        over = threading.Event()
        timer = threading.Timer(seconds, lambda: (over.set(), self.end()))
        timer.start()
        try:
            return self._converse(encoded, request)
        except (OSError, ValueError, _EndedError) as error:
            self.end()
            if over.is_set():
                raise TimeoutError from error
            raise _EndedError from error
        finally:
            timer.cancel()

    def _converse(self, encoded: Encoded, request: dict[str, Any]) -> Image.Image:
        to, back = self._process.stdin, self._process.stdout
        to.write(json.dumps(request).encode() + b"\n")
        if request["path"] is None:
            encoded.file.seek(0)
            shutil.copyfileobj(encoded.file, to, 1 << 20)
        to.flush()
        answer = json.loads(back.readline() or b"null")
        if answer is None:
            raise _EndedError
        if "error" in answer:
            raise ImageError(answer["error"])
        mode, (width, height) = answer["mode"], answer["size"]
        image = Image.new(mode, (width, height), None)
        row = width * CHANNELS[mode]
        rows = max(1, STRIP_BYTES // row)
        for top in range(0, height, rows):
            count = min(rows, height - top)
            content = back.read(count * row)
            if len(content) < count * row:
                raise _EndedError
            image.paste(Image.frombuffer(mode, (width, count), content, "raw", mode, 0, 1), (0, top))
        return image

    def is_usable(self) -> bool:
        return self.owner == os.getpid() and self._process.poll() is None

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


_idle: list[_Decoder] = []
_lock = threading.Lock()


def decode_in_process(
    encoded: Encoded, *, max_pixels: int, pixel_range: PixelRange | None, fit: int | None, enough: int | None = None
) -> Image.Image:
    """Upright 8-bit grey ("L") or "RGB".

    Raises:
        ImageError: damaged, or it took longer or more memory than is allowed.
    """
    request = {
        "name": encoded.name,
        "path": str(encoded.path.absolute()) if encoded.path is not None else None,
        "bytes": encoded.size,
        "max_pixels": max_pixels,
        "pixel_range": None if pixel_range is None else asdict(pixel_range),
        "fit": fit,
        "enough": enough,
    }
    seconds = settings.decode_seconds()
    for fresh in (False, True):  # an idle process may have ended in this very moment
        decoder = _Decoder() if fresh else _take()
        try:
            image = decoder.decode(encoded, request, seconds)
        except ImageError:
            _keep(decoder)
            raise
        except TimeoutError:
            raise ImageError(
                f"{encoded.name} takes longer than {seconds} seconds to decode: save it as PNG or JPEG, or raise "
                "ALTUB_DECODE_SECONDS."
            ) from None
        except _EndedError:
            continue
        _keep(decoder)
        return image
    raise ImageError(f"{encoded.name} could not be decoded: it is damaged, or does not fit in memory.")


def _take() -> _Decoder:
    with _lock:
        while _idle:
            decoder = _idle.pop()
            if decoder.is_usable():
                return decoder
    return _Decoder()


def _keep(decoder: _Decoder) -> None:
    with _lock:
        if len(_idle) < KEPT:
            _idle.append(decoder)
            return
    decoder.end()
