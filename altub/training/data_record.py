"""Which images a training uses and how they were split, so that a resumed one goes on with exactly these.

Held-out images give the calibration: with one of them among the trained ones its promise is void. The split is
therefore written down (data.json in the run directory), not drawn again, and every image is known by its content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from altub.data import Category, PixelRange, Sample
from altub.data.images import measure_pixel_range
from altub.data.splits import split_held_out
from altub.errors import DataError, RunError
from altub.files import read_json, write_json

__all__ = ["DataRecord", "Split", "split_data"]

READERS = 4  # threads that hash files
NAMED = 3  # files that a message names

Part = Literal["trained", "held-out", "test", "known"]


class Split(BaseModel):
    """The images of a training, in the order in which they are used."""

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)

    trained: list[Sample]
    held_out: list[Sample]
    tested: list[Sample]
    known: list[Sample] = []  # defective ones to learn from
    pixel_range: PixelRange | None = None  # None: as version 0.1.0 read images
    note: str | None = None  # for the user


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str  # relative to the category's folder
    part: Part
    size: int = Field(ge=0)  # bytes
    sha256: str


class DataRecord(BaseModel):
    """The content of data.json."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[1] = 1
    images: list[_Entry]
    pixel_range: PixelRange | None = None

    @classmethod
    def of(cls, category: Category, split: Split) -> DataRecord:
        """Reads every image once."""
        parts: Iterable[tuple[Part, list[Sample]]] = (
            ("trained", split.trained),
            ("held-out", split.held_out),
            ("test", split.tested),
            ("known", split.known),
        )
        samples = [(part, sample) for part, chosen in parts for sample in chosen]
        hashes = _hashes([sample for _, sample in samples])
        return cls(
            images=[
                _Entry(name=_name(category, sample), part=part, size=size, sha256=sha256)
                for (part, sample), (size, sha256) in zip(samples, hashes, strict=True)
            ],
            pixel_range=split.pixel_range,
        )

    @classmethod
    def read(cls, path: Path, run_id: str) -> DataRecord:
        """The record at `path`.

        Raises:
            RunError: it is missing or damaged.
        """
        try:
            return cls.model_validate(read_json(path))
        except (OSError, ValueError, ValidationError) as error:
            raise RunError(
                f"{path.name} of run {run_id} is damaged: which images it trained on is not known any more. Start a "
                "new run."
            ) from error

    def untrained(self, samples: Sequence[Sample]) -> list[Sample]:
        """Those whose content was not trained on, whatever their names."""
        trained = {entry.sha256 for entry in self.images if entry.part in ("trained", "known")}
        hashes = _hashes(samples)
        return [sample for sample, (_, sha256) in zip(samples, hashes, strict=True) if sha256 not in trained]

    def held_out(self, samples: Sequence[Sample]) -> list[Sample]:
        """Those that were held out, by content; the first of equal ones.

        Raises:
            DataError: not all of them are there.
        """
        wanted = {entry.sha256 for entry in self.images if entry.part == "held-out"}
        found: dict[str, Sample] = {}
        for sample, (_, sha256) in zip(samples, _hashes(samples), strict=True):
            if sha256 in wanted:
                found.setdefault(sha256, sample)
        if len(found) < len(wanted):
            raise DataError(
                f"{len(wanted) - len(found)} of the {len(wanted)} held-out images of the training are not among the "
                f"{len(samples)} good images given: give the data that it was trained on."
            )
        return list(found.values())

    def restore(self, run_id: str, category: Category) -> Split:
        """The recorded images as they are now; images that came later are left out, and the note says so.

        Raises:
            RunError: an image is gone or has another content; the message names it.
        """
        # Training and test images apart: a layout may use one file as both.
        known = {
            (is_test, _name(category, sample)): sample
            for is_test, samples in ((False, (*category.train, *category.known)), (True, category.test))
            for sample in samples
        }
        wanted = [(entry.part == "test", entry.name) for entry in self.images]
        missing = [name for key in wanted if key not in known for name in (key[1],)]
        there = [(entry, known[key]) for entry, key in zip(self.images, wanted, strict=True) if key in known]
        hashes = _hashes([sample for _, sample in there])
        changed = [
            entry.name for (entry, _), found in zip(there, hashes, strict=True) if (entry.size, entry.sha256) != found
        ]
        if missing or changed:
            what = "; ".join(
                f"{verb}: {_some(names)}" for verb, names in (("missing", missing), ("changed", changed)) if names
            )
            raise RunError(
                f"The data of run {run_id} changed since its training began ({what}). Put the images back as they "
                "were and resume, or start a new run."
            )
        parts: dict[Part, list[Sample]] = {"trained": [], "held-out": [], "test": [], "known": []}
        for entry, sample in there:
            parts[entry.part].append(sample)
        learned = {entry.sha256 for entry in self.images if entry.part == "known"}
        others = [sample for key, sample in known.items() if key not in set(wanted)]
        added = sum(sha256 not in learned for _, sha256 in (_hashes(others) if learned else [(0, "")] * len(others)))
        note = None
        if added:
            plural = "s were" if added > 1 else " was"
            note = f"{added} image{plural} added since this training began; a new run is needed to use them."
        return Split(
            trained=parts["trained"],
            held_out=parts["held-out"],
            tested=parts["test"],
            known=parts["known"],
            pixel_range=self.pixel_range,
            note=note,
        )


def split_data(
    path: Path, run_id: str, category: Category, share: float, seed: int, *, begun: bool, learns_defects: bool = False
) -> Split:
    """The images to train on, to hold out and to test on: as recorded in `path` if training has begun, else drawn
    (`split_held_out`) and recorded there, with the range of their pixels. Where a begun run has no record (version
    0.1.0), they are drawn and read as they were.

    Raises:
        RunError: recorded images are gone or changed, or the record is damaged.
        DataError: too few images.
    """
    if begun and path.exists():
        return DataRecord.read(path, run_id).restore(run_id, category)
    trained, held_out = split_held_out(category.train, share, seed)
    pixel_range = None if begun else measure_pixel_range(sample.source for sample in trained)
    known = list(category.known) if learns_defects else []
    learned = {sha256 for _, sha256 in _hashes(known)}
    tested = list(category.test)
    if learned:  # never tested on, whatever their names are there
        tested = [sample for sample, (_, own) in zip(tested, _hashes(tested), strict=True) if own not in learned]
    split = Split(trained=trained, held_out=held_out, tested=tested, known=known, pixel_range=pixel_range)
    write_json(path, DataRecord.of(category, split).model_dump(mode="json"))
    return split


def _name(category: Category, sample: Sample) -> str:
    try:
        name = sample.path.relative_to(category.root)
    except ValueError:  # outside of the folder
        name = sample.path
    return name.as_posix()


def _hashes(samples: Sequence[Sample]) -> list[tuple[int, str]]:
    """(bytes, SHA-256) of every image."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(_hash, samples))


def _hash(sample: Sample) -> tuple[int, str]:
    image = sample.path if sample.image is None else sample.image
    if isinstance(image, str | Path):
        try:
            with open(image, "rb") as file:
                digest = hashlib.file_digest(file, "sha256")
                return file.tell(), digest.hexdigest()
        except OSError:  # not there or not readable: whoever decodes it says so
            return 0, ""
    if isinstance(image, Image.Image):
        image = np.asarray(image)
    content = image if isinstance(image, bytes) else f"{image.dtype}{image.shape}".encode() + image.tobytes()
    return len(content), hashlib.sha256(content).hexdigest()


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
