"""Where MVTec AD comes from: archives and data sets on the Hub, as built in or as the environment lists them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from altub import settings
from altub.errors import ConfigError

__all__ = ["DEFAULT_SOURCES", "Source", "mvtec_sources", "parse_sources"]


@dataclass(frozen=True)
class Source:
    """One place to get MVTec AD from: an archive or a data set on the Hugging Face Hub; exactly one of the two.

    url: a tar or zip archive. With ``{category}`` in it there is one archive a category, else one with all of them.
    sha256: checksum of the archive, where it is known (only without ``{category}``).
    dataset: id of a data set on the Hub that has the MVTec AD layout in it.
    revision: branch, tag or commit of the data set.
    files: SHA-256 of single files where they are known, by their path such as ``bottle/train/good/000.png``. Each one
        of a category that is downloaded must be there and right; files that are not listed are not compared.
    """

    url: str | None = None
    sha256: str | None = None
    dataset: str | None = None
    revision: str | None = None
    files: Mapping[str, str] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        if (self.url is None) == (self.dataset is None):
            raise ConfigError('A source of MVTec AD has either a "url" or a "dataset".')
        if self.url is not None and urlsplit(self.url).scheme not in ("http", "https"):
            raise ConfigError(f"The source {self.url} must begin with http:// or https://.")
        if self.sha256 is not None and (not _is_sha256(self.sha256) or "{category}" in (self.url or "")):
            raise ConfigError("A source's sha256 has 64 hex digits and belongs to one archive with all categories.")
        if self.files is not None and not (
            isinstance(self.files, Mapping) and all(_is_sha256(value) for value in self.files.values())
        ):
            raise ConfigError("A source's files are an object of paths and their SHA-256 with 64 hex digits each.")

    @property
    def by_category(self) -> bool:
        """True where one category can be downloaded without the others."""
        return self.dataset is not None or "{category}" in self.url

    @property
    def label(self) -> str:
        """Short name for messages."""
        return f"Hub data set {self.dataset}" if self.dataset else urlsplit(self.url).netloc


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-fA-F]{64}", value) is not None


_ARCHIVE_SHA256 = "cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d"
_SHARES = "https://www.mydrive.ch/shares"
_ARCHIVE = "download/420938113-1629960298/mvtec_anomaly_detection.tar.xz"

#: The publisher's archive (5.3 GB, all categories) at its latest known address, a copy on the Hub that offers single
#: categories, and the archive's previous address.
DEFAULT_SOURCES: tuple[Source, ...] = (
    Source(url=f"{_SHARES}/150996/b52ecdcbf521176e9db9c731f2304b27/{_ARCHIVE}", sha256=_ARCHIVE_SHA256),
    Source(dataset="foersben/mvtec-ad"),
    Source(url=f"{_SHARES}/38536/3830184030e49fe74747669442f0f283/{_ARCHIVE}", sha256=_ARCHIVE_SHA256),
)


def parse_sources(text: str) -> tuple[Source, ...]:
    """Sources from JSON text, or from the JSON file whose path it is.

    A list of objects with the fields of `Source`, or of strings: an address, or "hf:" and the id of a data set.

    Raises:
        ConfigError: it is not such a list.
    """
    try:
        raw = text if text.lstrip().startswith("[") else Path(text).expanduser().read_text(encoding="utf-8")
        entries = json.loads(raw)
        if not isinstance(entries, list) or not entries:
            raise ValueError("not a list with something in it")
        sources = []
        for entry in entries:
            if isinstance(entry, str):
                name = entry.removeprefix("hf:")
                entry = {"dataset": name} if name != entry else {"url": entry}
            sources.append(Source(**entry))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"ALTUB_MVTEC_SOURCES cannot be read ({error}): it must be a JSON list of addresses, or of objects with "
            '"url" (and "sha256") or "dataset" (and "files"), or the path of a file with such a list.'
        ) from error
    return tuple(sources)


def mvtec_sources() -> tuple[Source, ...]:
    """The sources in use: from ``ALTUB_MVTEC_SOURCES`` where that is set, else `DEFAULT_SOURCES`."""
    text = settings.mvtec_sources()
    return parse_sources(text) if text else DEFAULT_SOURCES
