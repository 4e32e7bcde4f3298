"""MVTec AD from a list of sources, after the user has accepted its licence.

The official archive's address has changed several times, so no address is relied on: sources are tried in turn,
the list can be set (``ALTUB_MVTEC_SOURCES``), and when all are dead the message says where to get the data by hand and
where to put it. A category appears under its name only when all of it is there and every image begins as its kind does.
A source that delivers anything else is a failed one, whatever the reason: its files are removed, the next is tried.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from filelock import FileLock

from altub.data.archive import extract
from altub.data.fetch import DownloadStoppedError, FetchError, Progress, Watch, fetch, file_sha256
from altub.data.images import is_image_file
from altub.data.layouts.mvtec import MVTEC_CATEGORIES, load_mvtec_category
from altub.data.signatures import has_signature
from altub.data.sources import DEFAULT_SOURCES, Source, mvtec_sources
from altub.errors import DataError, DiskFullError
from altub.files import explain_full_disk

__all__ = ["MVTEC_LICENCE", "MVTEC_PAGE", "download_mvtec"]

MVTEC_PAGE = "https://www.mvtec.com/company/research/datasets/mvtec-ad"
MVTEC_LICENCE = "CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0/)"

_PARTS = ("train", "test", "ground_truth")
_NOTES = ("license.txt", "readme.txt")
_WORK_FOLDER = ".mvtec-download"
_PATIENCE = 2  # failed categories before a source counts as dead
_LOCK_TIMEOUT = 2  # seconds; another download into the same folder takes longer than a user waits


def download_mvtec(
    category: str | Sequence[str],
    root: str | Path,
    *,
    accept_licence: bool,
    sources: Sequence[Source] | None = None,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Path:
    """Download categories of MVTec AD to ``root/<category>`` and return ``root``. Those that are there are kept.

    Args:
        category: one of `MVTEC_CATEGORIES`, several, or "all".
        root: folder of the categories.
        accept_licence: the user's consent to CC BY-NC-SA 4.0.
        sources: tried in this order. None: `mvtec_sources`, and of the default ones those first that need not send
            all 15 categories for a few.
        progress: called a few times a second, from whichever thread works.
        should_stop: True ends the download; what has arrived is kept and continued the next time.

    Raises:
        DataError: licence not accepted, no such category, ``root/<category>`` is something else, or every source
            failed; the message then names each failure and how to place the data by hand.
        DiskFullError: there is no room for it.
        DownloadStoppedError: ``should_stop`` returned True.
    """
    wanted = _wanted(category)
    if not accept_licence:
        raise DataError(
            f"MVTec AD may be downloaded after accepting its licence, {MVTEC_LICENCE}, which excludes commercial use."
        )
    root = Path(os.path.abspath(Path(root).expanduser()))
    if sources is None:
        sources = mvtec_sources()
        if sources == DEFAULT_SOURCES and len(wanted) < len(MVTEC_CATEGORIES):
            sources = sorted(sources, key=lambda source: not source.by_category)
    work = root / _WORK_FOLDER
    try:
        work.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{_WORK_FOLDER}.lock", timeout=_LOCK_TIMEOUT), explain_full_disk(work):
            for left in work.glob("unpacked-*"):  # by a killed process; this one holds the lock
                shutil.rmtree(left, ignore_errors=True)
            missing = [name for name in wanted if not _is_there(root / name)]
            failures = []
            for source in sources:
                if missing:
                    failures += _try(source, missing, root, work, progress, should_stop)
                    missing = [name for name in missing if not _is_there(root / name)]
            if missing:
                _give_up(missing, root, failures)
            shutil.rmtree(work, ignore_errors=True)
    except TimeoutError as error:  # filelock.Timeout is one
        raise DataError(f"Another download into {root} is running: wait for it to end.") from error
    except OSError as error:
        raise DataError(f"MVTec AD cannot be written to {root}: {error.strerror or error}.") from error
    return root


def _wanted(category: str | Sequence[str]) -> list[str]:
    names = [category] if isinstance(category, str) else list(category)
    if names == ["all"]:
        return list(MVTEC_CATEGORIES)
    for name in names:
        if name not in MVTEC_CATEGORIES:
            raise DataError(f"MVTec AD has no category {name!r}. It has: {', '.join(MVTEC_CATEGORIES)}.")
    if not names:
        raise DataError("No category of MVTec AD was named.")
    return sorted(set(names))


def _is_there(folder: Path) -> bool:
    """True for a complete category, False where there is room for one."""
    if not folder.exists():
        return False
    try:
        load_mvtec_category(folder)
    except DataError:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            return False
        raise DataError(
            f"{folder} exists, but has no images in train/good: move it away, then start the download again."
        ) from None
    return True


def _try(
    source: Source,
    missing: list[str],
    root: Path,
    work: Path,
    progress: Callable[[Progress], None] | None,
    should_stop: Callable[[], bool] | None,
) -> list[tuple[str, Exception]]:
    """Get what is missing from one source; return its failures."""
    failures = []
    batches = [[name] for name in missing] if source.by_category else [missing]
    for batch in batches:
        try:
            if source.dataset is not None:
                _from_hub(source, batch, root, work, progress, should_stop)
            else:
                _from_archive(source, batch, root, work, progress, should_stop)
        except DownloadStoppedError:
            raise
        except Exception as error:  # a strange server or archive may fail in any way; the next source may not
            failures.append((source.label, error))
            if len(failures) >= _PATIENCE:
                break
    return failures


def _from_archive(source: Source, batch: list[str], root: Path, work: Path, progress, should_stop) -> None:
    url = source.url.replace("{category}", batch[0]) if source.by_category else source.url
    archive = work / hashlib.sha256(f"{url} {source.sha256}".encode()).hexdigest()[:16]
    if not archive.exists():
        fetch(url, archive, sha256=source.sha256, progress=progress, should_stop=should_stop)
    watch = Watch(progress, should_stop, url)
    only = batch[0] if source.by_category else None
    unpacked = Path(tempfile.mkdtemp(prefix="unpacked-", dir=work))
    try:
        extract(
            archive,
            unpacked,
            lambda path: _place(path, batch, only),
            watch=lambda done, total: watch("extract", done, total),
        )
        _move_in(unpacked, batch, root, source, watch)
    except (DownloadStoppedError, KeyboardInterrupt):
        raise  # the archive is not to blame; it is unpacked the next time
    except BaseException:  # whatever it was, the archive may be the reason
        archive.unlink(missing_ok=True)
        raise
    else:
        archive.unlink(missing_ok=True)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _from_hub(source: Source, batch: list[str], root: Path, work: Path, progress, should_stop) -> None:
    from huggingface_hub import snapshot_download
    from tqdm import tqdm

    watch = Watch(progress, should_stop, source.label)
    arrived = [0]

    class Bar(tqdm):
        """Receives what the client would show, and reports the bytes."""

        def __init__(self, *args, **kwargs) -> None:
            # of the client's two counts, bytes on the disk, not bytes received
            is_transfer = str(kwargs.pop("name", "")).endswith(".transfer")
            self.counts_bytes = kwargs.get("unit") == "B" and not is_transfer
            super().__init__(*args, **(kwargs | {"disable": False, "file": io.StringIO()}))

        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            if self.counts_bytes:
                arrived[0] = int(self.n)
                watch("download", arrived[0], int(self.total) if self.total else None)
            return shown

    folder = work / f"hub-{hashlib.sha256(str(source).encode()).hexdigest()[:16]}"
    inside = [f"{part}/**" for part in _PARTS] + list(_NOTES)
    patterns = [f"{where}{name}/{what}" for name in batch for what in inside for where in ("", "*/")]
    try:
        snapshot_download(
            source.dataset,
            repo_type="dataset",
            revision=source.revision,
            local_dir=folder,
            allow_patterns=patterns,
            tqdm_class=Bar,
        )
    except DownloadStoppedError:
        raise
    except Exception as error:  # the client's errors and its HTTP library's have no common base class
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"The disk is full: free some space for {root}, then start again.") from error
        raise FetchError(f"{type(error).__name__}: {_first_sentence(error)}") from error

    watch("download", arrived[0], arrived[0], final=True)
    arranged = Path(tempfile.mkdtemp(prefix="unpacked-", dir=work))
    try:
        for path in sorted(folder.rglob("*")):
            goal = _place(PurePosixPath(path.relative_to(folder)), batch, None) if path.is_file() else None
            if goal is not None:
                (arranged / goal).parent.mkdir(parents=True, exist_ok=True)
                path.replace(arranged / goal)
        _move_in(arranged, batch, root, source, watch)
    finally:
        shutil.rmtree(arranged, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def _first_sentence(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:160]


def _place(path: PurePosixPath, wanted: list[str], only: str | None) -> PurePosixPath | None:
    """Where a file of a source belongs, as <category>/..., or None where it is not wanted.

    The category may lie at any depth; ``only`` is the category of an archive that begins at train/ and test/.
    """
    parts = path.parts
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return None
    if not (is_image_file(path) or path.name in _NOTES):
        return None
    for k, part in enumerate(parts[:-1]):
        if part in wanted and (parts[k + 1] in _PARTS or parts[k + 1] in _NOTES):
            return PurePosixPath(*parts[k:])
    if only is not None and parts[0] in _PARTS:
        return PurePosixPath(only, *parts)
    return None


def _move_in(unpacked: Path, batch: list[str], root: Path, source: Source, watch: Watch) -> None:
    """Move complete and verified categories to their final place, one rename each."""
    absent, bad = [], []
    for name in batch:
        try:
            load_mvtec_category(unpacked / name)
        except DataError:
            absent.append(name)
            continue
        problem = _problem(unpacked, name, source, watch)
        if problem is None:
            (unpacked / name).rename(root / name)
        else:
            bad.append(problem)
    if absent:
        bad.append(f"it has no good images of {', '.join(absent)}")
    if bad:
        raise FetchError("; ".join(bad))


def _problem(unpacked: Path, category: str, source: Source, watch: Watch) -> str | None:
    """What is wrong with an unpacked category: files that are no images, or others than the source's list has."""
    for path in sorted((unpacked / category).rglob("*")):
        if is_image_file(path) and not (path.is_file() and has_signature(path)):
            return f"{path.relative_to(unpacked)} is not an image of its kind"
    for name, expected in (source.files or {}).items():
        path = unpacked / name
        if PurePosixPath(name).parts[:1] != (category,):
            continue
        if not path.is_file():
            return f"{name} is missing"
        if file_sha256(path, watch) != expected.lower():
            return f"{name} has a wrong checksum"
    return None


def _give_up(missing: list[str], root: Path, failures: list[tuple[str, Exception]]) -> None:
    for _, error in failures:
        if isinstance(error, DiskFullError):
            raise error
    tried = "; ".join(f"{label}: {error}" for label, error in failures) or "there is no source"
    raise DataError(
        f"MVTec AD ({', '.join(missing)}) could not be downloaded from any source ({tried}). Get it by hand from "
        f"{MVTEC_PAGE} and put each category's folder into {root}, so that the good images lie in "
        f"{root / missing[0] / 'train' / 'good'}."
    )
