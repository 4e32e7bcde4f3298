"""A folder of labels goes to the Hugging Face Hub as a data set.

The folder is an export of the format `imagefolder` (metadata.jsonl, images, masks). Only metadata.jsonl and the files
that its rows name are sent, after a check that all of them lie in the folder, so that no link leads to anything else.
Files are sent in batches and taken into the repo by one commit at the end: nobody sees half of a data set, and what was
sent before an interruption is not sent again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from altub.errors import DataError
from altub.hub.branches import newest_state, parse_branch, require_token
from altub.hub.card import check_licence
from altub.hub.checks import CARD_FILE, LIMITS
from altub.hub.errors import HubError, explain_hub_errors
from altub.hub.fetch import Report, Token
from altub.hub.reach import check_reachable
from altub.labels.dataset_card import TAG, LabelCounts, is_unedited, make_dataset_card
from altub.labels.formats.exchange import FORMATS
from altub.labels.formats.imagefolder import FILE, IMAGE, MASK
from altub.labels.formats.item import inside
from altub.labels.formats.rows import read_json_lines, read_rows
from altub.labels.records import DEFAULT_DEFECT

__all__ = ["PushedLabels", "is_label_folder", "push_labels"]

BATCH = 100  # files that are sent before the progress is told
MOST_FILES = 20_000  # in a commit: the Hub takes 25,000
MOST_BYTES = 100 << 30
FOLDERS = ("images/", "masks/")  # whose files a newer push removes where they are no longer named


@dataclass(frozen=True)
class PushedLabels:
    """What was pushed.

    Attributes:
        repo: "user/name".
        commit: full hash of the commit.
        url: of the data set's page on the Hub.
        changed: False where the Hub was up to date already; `commit` is then its newest one.
        card_kept: the card on the Hub was edited there, so it was left as it is.
        images: number of labelled images.
        people: whose names are in the data set.
        private: only those whom the owner lets may read it.
    """

    repo: str
    commit: str
    url: str
    changed: bool
    card_kept: bool
    images: int
    people: tuple[str, ...]
    private: bool


@dataclass(frozen=True)
class _File:
    name: str  # in the repo
    path: Path
    size: int  # bytes


def is_label_folder(folder: str | Path) -> bool:
    """Is this an export of labels that `push_labels` takes?

    Raises:
        DataError: it is an export of labels, but of a format that the Hub has no use for.
    """
    folder = Path(folder)
    if (folder / FILE).is_file():
        return True
    if (folder / "config.json").is_file():  # a model
        return False
    kind = next((name for name, known in FORMATS.items() if known.matches(folder)), None)
    if kind is not None:
        raise DataError(
            f"{folder} has the format {kind}, which the Hub cannot show: push an image folder, which "
            "`altub labels export imagefolder` writes."
        )
    return False


def push_labels(
    folder: str | Path,
    repo: str,
    *,
    public: bool = False,
    revision: str | None = None,
    message: str | None = None,
    licence: str | None = None,
    token: Token = None,
    report: Report | None = None,
) -> PushedLabels:
    """Pushes an image folder of labels as a data set; repo and branch are created if missing.

    Args:
        folder: of `export_labels(..., "imagefolder")`.
        public: everybody may see the images; else the repo is created as private, and a public one is refused.
        licence: one of `altub.hub.card.LICENCES`; None leaves it off the card.

    Raises:
        DataError: the folder holds no labels, or names files that are not in it.
        HubError: the Hub refuses, cannot be reached, or has something else in that repo.
        ConfigError: the Hub does not know the licence.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants

    where = parse_branch(repo, revision)
    check_licence(licence)
    say = report or (lambda fraction, text: None)
    say(None, f"reading {Path(folder).name}")
    files, counts = _contents(Path(folder))
    require_token(token)
    say(None, f"contacting the Hub for {where.repo}")
    api = HfApi()
    with explain_hub_errors(where.repo, "push"):
        check_reachable()
        info = newest_state(api, where, token, private=not public, kind="dataset")
        there = {file.rfilename for file in info.siblings or []}
        if there - {".gitattributes", CARD_FILE} and TAG not in (info.tags or []):
            raise HubError(
                f"{where.repo} holds another data set, which would be overwritten: push to another name, or give its "
                f"card the tag {TAG} on the Hub. Nothing was pushed."
            )
        card = make_dataset_card(counts, where.repo, licence)
        old_card = _card(api, where.repo, info, token)
        card_kept = old_card is not None and not is_unedited(old_card)
        additions = []
        for batch, done in _batches(files):
            sent = [CommitOperationAdd(file.name, str(file.path)) for file in batch]
            api.preupload_lfs_files(where.repo, sent, repo_type="dataset", revision=where.revision, token=token)
            additions += sent
            total = sum(file.size for file in files)
            say(done / max(total, 1), f"sent {done / 1e6:,.1f} of {total / 1e6:,.1f} MB to {where.repo}")
        named = {file.name for file in files}
        gone = sorted(name for name in there if name.startswith(FOLDERS) and name not in named)
        if not card_kept:
            additions.append(CommitOperationAdd(CARD_FILE, card.encode()))
        commit = api.create_commit(
            where.repo,
            [*additions, *(CommitOperationDelete(name) for name in gone)],
            commit_message=message or f"{counts.images:,} labelled images",
            repo_type="dataset",
            revision=where.revision,
            parent_commit=info.sha,
            token=token,
        )
    return PushedLabels(
        repo=where.repo,
        commit=commit.oid,
        url=f"{constants.ENDPOINT}/datasets/{where.repo}",
        changed=commit.oid != info.sha,
        card_kept=card_kept,
        images=counts.images,
        people=tuple(sorted(counts.people)),
        private=bool(info.private),
    )


def _contents(folder: Path) -> tuple[list[_File], LabelCounts]:
    """The files of an image folder, and what its labels are; every mask is read.

    Raises:
        DataError: it holds no labels, or too many; a row is damaged, or names a file that is not in the folder.
    """
    if not (folder / FILE).is_file():
        raise DataError(f"{folder} has no {FILE}: give the folder that `altub labels export imagefolder` wrote.")
    table = inside(folder, FILE, "The folder")
    rows = list(read_json_lines(table))
    found, counts = {FILE: _File(FILE, table, table.stat().st_size)}, LabelCounts()
    for number, (row, item) in enumerate(zip(rows, read_rows(folder, rows, FILE, IMAGE, MASK), strict=True), start=1):
        for entry in (row[IMAGE], row.get(MASK)):
            if entry:
                file = _file(folder, entry, f"Row {number} of {FILE}")
                found[file.name] = file
        counts.verdicts[item.verdict] += 1
        if item.verdict == "defect":
            counts.defect_types[item.defect_type or DEFAULT_DEFECT] += 1
        counts.masks += item.mask is not None
        if item.who:
            counts.people.add(item.who)
    if not counts.images:
        raise DataError(f"{folder} holds no labels: label some images and export them again.")
    files, size = list(found.values()), sum(file.size for file in found.values())
    if len(files) > MOST_FILES or size > MOST_BYTES:
        raise DataError(
            f"{folder} has {len(files):,} files of {size / 1e9:,.1f} GB, more than the {MOST_FILES:,} files and "
            f"{MOST_BYTES / 1e9:,.0f} GB that one push may hold: export one source at a time (--source)."
        )
    return files, counts


def _file(folder: Path, entry: Any, where: str) -> _File:
    """A file that a row names, by a path that means the same on the Hub as here."""
    name = PurePosixPath(str(entry))
    if name.is_absolute() or ".." in name.parts or not str(name).startswith(FOLDERS):
        raise DataError(
            f"{where} names {str(entry)[:200]!r}: it must lie in images/ or masks/. Export the labels again."
        )
    path = inside(folder, entry, where)
    return _File(str(name), path, path.stat().st_size)


def _batches(files: Sequence[_File]) -> Iterator[tuple[Sequence[_File], int]]:
    """Some files at a time, and the bytes of all up to then."""
    done = 0
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        done += sum(file.size for file in batch)
        yield batch, done


def _card(api: Any, repo: str, info: Any, token: Token) -> str | None:
    found = next((file for file in info.siblings or [] if file.rfilename == CARD_FILE), None)
    if found is None or (found.size or 0) > LIMITS[CARD_FILE]:
        return None
    path = api.hf_hub_download(repo, CARD_FILE, repo_type="dataset", revision=info.sha, token=token)
    return Path(path).read_text(encoding="utf-8", errors="replace")
