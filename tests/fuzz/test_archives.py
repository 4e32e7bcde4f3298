"""Hostile archives are unpacked below their folder, or refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

from altub.data.archive import extract
from tests.fuzz.archives import hostile_archives
from tests.fuzz.verdict import contents, count, problem, report

CASES = 48
MOST_BYTES, MOST_MEMBERS = 100_000, 100  # that one may unpack to in these tests


def test_archives_stay_in_their_folder(tmp_path: Path) -> None:
    problems = []
    for number, (name, content) in enumerate(hostile_archives(6, count(CASES))):
        place = tmp_path / str(number)
        into = place / "deep" / "into"
        into.mkdir(parents=True)
        archive = place / "archive"
        archive.write_bytes(content)
        problems.append(
            (
                name,
                problem(
                    lambda archive=archive, into=into: extract(
                        archive, into, lambda path: path, max_bytes=MOST_BYTES, max_members=MOST_MEMBERS
                    ),
                    tmp_path,
                ),
            )
        )
        written = contents(place)
        outside = {file for file in written if not file.startswith("deep/into/")} - {"archive"}
        odd = [file for file in written if not os.path.isfile(place / file) or os.path.islink(place / file)]
        too_much = sum(written.values()) - len(content) > MOST_BYTES
        if outside or odd or too_much:
            problems.append((name, f"wrote {outside or odd or 'too much'}"))
    assert all(path.name.isdigit() for path in tmp_path.iterdir())
    report(problems)
