"""One file over HTTP(S): resumable, verified, with progress, and never incomplete under its final name.

What has arrived lies in ``<name>.part``, with a note beside it of which remote file it belongs to. A later attempt
asks for the rest (``Range``), on condition that the remote file is still the same (``If-Range`` with its ETag or date);
a server that has another file now sends all of it and the part is discarded.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from altub.errors import DataError, DiskFullError
from altub.files import explain_full_disk
from altub.version import __version__

__all__ = ["DownloadStoppedError", "FetchError", "Progress", "Watch", "fetch", "file_sha256"]

_CHUNK = 1 << 20  # bytes
_TIMEOUT = 30.0  # seconds without a byte
_ATTEMPTS = 4  # in a row without progress
_REPORT_INTERVAL = 0.2  # seconds between reports
_NETWORK_ERRORS = (TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException, urllib.error.URLError)
_SPARE = 64 << 20  # bytes of the disk that stay free
_MAX_BYTES = 16 << 30  # of a file; MVTec AD has 5.3 GB


class FetchError(DataError):
    """A source failed; the message is short, as one of several."""


class DownloadStoppedError(DataError):
    """The user stopped the download; what has arrived is kept for the next time."""


@dataclass(frozen=True)
class Progress:
    """Progress of one step: ``phase`` is "download", "verify" or "extract"; ``done`` and ``total`` are bytes."""

    phase: str
    done: int
    total: int | None
    source: str

    @property
    def fraction(self) -> float | None:
        """0..1, or None where the total is not known."""
        return min(1.0, self.done / self.total) if self.total else None


class Watch:
    """Passes progress on, not too often, and stops when asked to."""

    def __init__(
        self,
        progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
        source: str,
    ) -> None:
        self._progress, self._should_stop, self._source = progress, should_stop, source
        self._last = 0.0

    def __call__(self, phase: str, done: int, total: int | None, final: bool = False) -> None:
        if self._should_stop is not None and self._should_stop():
            raise DownloadStoppedError("The download was stopped. Start it again to resume it.")
        now = time.monotonic()
        if self._progress is not None and (final or now - self._last >= _REPORT_INTERVAL):
            self._last = now
            self._progress(Progress(phase, done, total, self._source))


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    timeout: float = _TIMEOUT,
    retry_wait: float = 1.0,
) -> Path:
    """Download ``url`` to ``target`` and return it; a part from an earlier attempt is continued.

    Args:
        url: http or https.
        target: the file; it appears only when it is complete and its checksum is right.
        sha256: expected checksum in hex, or None where it is not known.
        progress: called a few times a second.
        should_stop: asked as often as data arrives; True ends the download and keeps the part.
        timeout: seconds without an answer or a byte after which the connection counts as dropped.
        retry_wait: seconds before the second attempt after a dropped connection; doubled for each further one.

    Raises:
        FetchError: this URL does not deliver.
        DiskFullError: there is no room for it.
        DownloadStoppedError: ``should_stop`` returned True.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise FetchError("only http and https addresses are downloaded")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    watch = Watch(progress, should_stop, url)
    failures, most = 0, _size(part)
    while True:
        try:
            _receive(url, part, sha256 is not None, timeout, watch)
            break
        except _NETWORK_ERRORS as error:
            problem = _in_short(error)
            final = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429)
            failures = failures + 1 if _size(part) <= most else 1
            most = max(most, _size(part))
            if final or failures >= _ATTEMPTS:
                raise FetchError(problem) from error
        _wait(retry_wait * 2 ** (failures - 1), watch, _size(part))
    if sha256 is not None:
        found = file_sha256(part, watch)
        if found != sha256.lower():
            _forget(part)
            raise FetchError(f"wrong checksum (SHA-256 {found[:12]}... instead of {sha256[:12].lower()}...)")
    part.replace(target)
    _forget(part)
    return target


def _receive(url: str, part: Path, verified_later: bool, timeout: float, watch: Watch) -> None:
    """One connection: append to the part what is missing, or start it over."""
    have, note = _size(part), _read_note(part)
    headers = {"User-Agent": f"altub/{__version__}", "Accept-Encoding": "identity"}
    validator = note.get("etag") or note.get("last_modified")
    if have and note.get("url") == url and (validator or verified_later):
        headers["Range"] = f"bytes={have}-"
        if validator:
            headers["If-Range"] = validator
    try:
        response = _OPENER.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and "Range" in headers:
                if note.get("total") == have:
                    return  # everything had arrived already
                _forget(part)
                raise ConnectionError("the part did not fit the remote file") from error
            raise
    with response:
        if response.headers.get_content_type() == "text/html":
            raise FetchError("the link leads to a web page, not to an archive")
        resumed = response.status == 206
        if resumed and not (response.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
            _forget(part)
            raise ConnectionError("the server sent another range than the one asked for")
        length = response.headers.get("Content-Length")
        start = have if resumed else 0
        total = start + int(length) if length is not None and length.isdigit() else None
        if total is not None:
            _check_length(part, total)
            _check_room(part, total - start, freed=0 if resumed else have)
        with explain_full_disk(part):
            _write_note(part, url, response.headers, total)
            with part.open("ab" if resumed else "wb") as file:
                done = start
                watch("download", done, total, final=True)
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    done += len(chunk)
                    _check_length(part, done)
                    watch("download", done, total)
        if total is not None and done < total:
            raise ConnectionError(f"the connection dropped after {done:,} of {total:,} bytes")
        watch("download", done, total, final=True)


class _NoStrangeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise FetchError("the link leads to an address that is neither http nor https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_NoStrangeRedirects)


def _in_short(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return str(getattr(reason, "strerror", None) or reason or type(reason).__name__)


def _wait(seconds: float, watch: Watch, done: int) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        watch("download", done, None)
        time.sleep(min(left, 0.1))


def _check_length(part: Path, length: int) -> None:
    if length > _MAX_BYTES:
        _forget(part)
        raise FetchError(f"the file is larger than {_MAX_BYTES / 1e9:.0f} GB")


def _check_room(part: Path, needed: int, freed: int) -> None:
    free = shutil.disk_usage(part.parent).free + freed
    if needed + _SPARE > free:
        raise DiskFullError(
            f"There is not enough room in {part.parent}: the download needs {needed / 1e9:.1f} GB more and "
            f"{free / 1e9:.1f} GB are free. Free some space, or choose another data root (ALTUB_DATA)."
        )


def file_sha256(file: Path, watch: Watch) -> str:
    """The checksum of a file in hex; ``watch`` is told about it."""
    digest, done, total = hashlib.sha256(), 0, file.stat().st_size
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            watch("verify", done, total)
    return digest.hexdigest()


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_note(part: Path) -> dict:
    try:
        note = json.loads(_note(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # missing or cut off: the part is discarded
        return {}
    return note if isinstance(note, dict) else {}


def _write_note(part: Path, url: str, headers: http.client.HTTPMessage, total: int | None) -> None:
    etag = headers.get("ETag")
    if etag is not None and etag.startswith("W/"):
        etag = None  # a weak one does not guarantee the same bytes
    note = {"url": url, "etag": etag, "last_modified": headers.get("Last-Modified"), "total": total}
    _note(part).write_text(json.dumps(note), encoding="utf-8")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)
