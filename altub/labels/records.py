"""What the label store returns: images, proposals, label events. An image is named by its SHA-256 everywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from altub.data.category import GOOD
from altub.errors import LabelError
from altub.files import printable

__all__ = [
    "DEFAULT_DEFECT",
    "VERDICTS",
    "Label",
    "Proposal",
    "StoredImage",
    "Verdict",
    "check_defect_type",
    "check_note",
    "check_who",
]

Verdict = Literal["good", "defect", "unsure"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
#: Type of a defect that was given none.
DEFAULT_DEFECT = "defect"

LONGEST_NAME = 60  # characters of a defect type, or of the name of a person
LONGEST_NOTE = 2000


@dataclass(frozen=True)
class StoredImage:
    """An image of the store.

    Attributes:
        sha256: of the original bytes; the image's name in every call.
        name: file name that it came with.
        suffix: file ending that fits its format, such as ".png".
        width, height: upright, in pixels.
        source: where it came from, such as a line or a category; the scope of queues and of random draws.
        inclusion: probability with which an image like this one is put into the store, where only a share of the
            production is (such as every tenth good part); 1 where all are.
        ticket: uniform in [0, 1), drawn when it was added.
        at: when that was, in seconds since 1970.
    """

    sha256: str
    name: str
    suffix: str
    width: int
    height: int
    source: str
    inclusion: float
    ticket: float
    at: float

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.width, self.height


@dataclass(frozen=True)
class Proposal:
    """What a model says of an image.

    Attributes:
        id: number, which a label may name.
        image: SHA-256.
        model: SHA-256 of the model's weights (`weights_sha256` in its config.json).
        score: as in `altub.inference.prediction.Prediction`.
        p_value: the same, by the calibration of the moment at which the image was scored; images that joined the
            calibration since make it another one, `Calibration.p_value(score)`.
        peak: largest value of the anomaly map.
        map_sha256: of the stored map; `Proposals.map` reads it.
    """

    id: int
    image: str
    model: str
    score: float
    p_value: float
    peak: float
    map_sha256: str


@dataclass(frozen=True)
class Label:
    """A verdict on an image, by somebody: one event.

    Attributes:
        event: its number; later events have higher ones.
        image: SHA-256.
        defect_type: of a defect, else None.
        mask_sha256: of the mask's PNG; `LabelLog.mask` reads it.
        proposal: number of the proposal that was on the screen, if any.
        showing: number of the showing (why and with what probability), if the queue chose the image.
        at: seconds since 1970.
    """

    event: int
    image: str
    who: str
    verdict: Verdict
    defect_type: str | None
    mask_sha256: str | None
    note: str
    proposal: int | None
    showing: int | None
    at: float


def check_defect_type(name: str | None) -> str:
    """The type in its usual form; it becomes a folder's name in exports.

    Raises:
        LabelError: it cannot be one.
    """
    clean = " ".join((name or DEFAULT_DEFECT).split())
    if clean.lower() == GOOD or len(clean) > LONGEST_NAME or not re.fullmatch(r"\w[\w .+()-]*(?<![ .])", clean):
        raise LabelError(
            f"{clean[:LONGEST_NAME]!r} cannot be a defect type: use up to {LONGEST_NAME} letters, digits, spaces or "
            f"_ - + ( ), and not {GOOD!r}."
        )
    return clean


def check_who(name: str) -> str:
    """The name of a person in its usual form.

    Raises:
        LabelError: it is empty or too long.
    """
    clean = " ".join(name.split())
    if not clean or len(clean) > LONGEST_NAME or not clean.isprintable():
        raise LabelError(f"Labels are kept with a name: give one of 1 to {LONGEST_NAME} characters.")
    return clean


def check_note(note: str) -> str:
    """The note as it is stored.

    Raises:
        LabelError: it is too long.
    """
    if len(note) > LONGEST_NOTE:
        raise LabelError(f"The note has {len(note):,} characters: it may have {LONGEST_NOTE:,}.")
    return printable(note)
