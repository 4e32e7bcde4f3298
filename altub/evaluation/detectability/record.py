"""What a measurement of detectability found: trials, real defects, and the curves that follow from them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from altub.errors import ModelError
from altub.files import explain_full_disk, read_json, write_atomically

if TYPE_CHECKING:
    from altub.evaluation.detectability.pod import PodCurve

__all__ = ["RESULT_FILE", "Detectability", "RealDefect", "Trial", "diameter"]

#: Name of the file in the folder of a result.
RESULT_FILE = "detectability.json"


def diameter(area: float) -> float:
    """The size of a defect: the diameter of the disk of the same area, in the unit of the area's root."""
    return 2 * math.sqrt(area / math.pi)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Trial(_Frozen):
    """One synthetic defect.

    hit: the image is called defective and marked pixels touch the defect. by_chance: so it would have been without the
    defect. image: index of the good image. area: pixels of the image.
    """

    kind: str
    contrast: float
    area: int = Field(ge=1)
    image: int = Field(ge=0)
    hit: bool
    by_chance: bool
    score: float


class RealDefect(_Frozen):
    """One defective test image with a mask; the area is that of all its defects. hit: as of a trial."""

    defect: str
    area: int = Field(ge=1)
    hit: bool
    score: float


class Detectability(_Frozen):
    """The smallest defects that a model finds at one threshold.

    Attributes:
        weights_sha256: of the model; a result of an earlier model of the same folder is none of this one.
        threshold: as `Threshold.to_dict`.
        good_scores: of the good images without a defect.
        false_alarms: how many of them are called defective.
        mm_per_pixel: scale of the images; None: sizes are in pixels.
    """

    version: int = 1
    category: str
    weights_sha256: str = ""
    threshold: dict[str, Any]
    promise: str
    good_scores: list[float]
    false_alarms: int
    trials: list[Trial]
    real: list[RealDefect] = []
    mm_per_pixel: float | None = Field(None, gt=0)
    seed: int = 0

    def __hash__(self) -> int:
        return id(self)

    @property
    def kinds(self) -> list[str]:
        """In the order in which they were tried."""
        return list(dict.fromkeys(trial.kind for trial in self.trials))

    @property
    def contrasts(self) -> list[float]:
        return sorted({trial.contrast for trial in self.trials})

    @property
    def unit(self) -> str:
        return "px" if self.mm_per_pixel is None else "mm"

    def size(self, area: float) -> float:
        """The size of a defect of this area in pixels, in `unit`."""
        return diameter(area) * (self.mm_per_pixel or 1.0)

    @lru_cache(maxsize=64)  # noqa: B019 - a result is small and is used once
    def curve(self, contrast: float, kind: str | None = None) -> PodCurve:
        """The probability of detection over size; of all kinds together where none is given."""
        from altub.evaluation.detectability.pod import fit_pod

        chosen = self.trials_of(contrast, kind)
        sizes = [self.size(trial.area) for trial in chosen]
        return fit_pod(sizes, [trial.hit for trial in chosen], [trial.image for trial in chosen])

    def trials_of(self, contrast: float, kind: str | None = None) -> list[Trial]:
        """Those of a contrast and a kind, or of all kinds."""
        return [trial for trial in self.trials if trial.contrast == contrast and kind in (None, trial.kind)]

    def expected_hits(self, defects: Iterable[RealDefect], contrast: float) -> float | None:
        """How many of these real defects would be found if they were as visible as synthetic ones of their size."""
        curve = self.curve(contrast)
        areas = np.array([self.size(defect.area) for defect in defects])
        if curve.slope is None:
            return float(curve.hits[0]) * len(areas)
        return float(curve.pod(areas.clip(curve.sizes[0], curve.sizes[-1])).sum())

    def summary(self) -> dict[str, Any]:
        """Plain values for programs: sizes are None where they are not among those tried, and `words` says why."""
        rows = []
        for contrast in self.contrasts:
            for kind in (None, *self.kinds):
                curve = self.curve(contrast, kind)
                sizes = {"a50": curve.size_at(0.5), "a90": curve.size_at(0.9), "a90_95": curve.bound_at(0.9)}
                rows.append(
                    {
                        "kind": kind or "all",
                        "contrast": contrast,
                        "trials": len(curve.hits),
                        "hits": int(curve.hits.sum()),
                        **{name: size if size and math.isfinite(size) else None for name, size in sizes.items()},
                        "words": {name: self.size_words(size, curve) for name, size in sizes.items()},
                        "intercept": curve.intercept,
                        "slope": curve.slope,
                    }
                )
        return {
            "category": self.category,
            "promise": self.promise,
            "good_images": len(self.good_scores),
            "false_alarms": self.false_alarms,
            "hits_by_chance": sum(trial.by_chance for trial in self.trials) / max(len(self.trials), 1),
            "unit": self.unit,
            "curves": rows,
            "real": self.real_rows(),
        }

    def real_rows(self) -> list[dict[str, Any]]:
        """One row for each kind of real defect: images, hits, median size, and hits expected by the synthetic ones."""
        rows = []
        for name in dict.fromkeys(defect.defect for defect in self.real):
            these = [defect for defect in self.real if defect.defect == name]
            sizes = [self.size(defect.area) for defect in these]
            expected = {f"{contrast:g}": self.expected_hits(these, contrast) for contrast in self.contrasts}
            hits = sum(defect.hit for defect in these)
            median = float(np.median(sizes))
            rows.append(
                {"defect": name, "images": len(these), "hits": hits, "median_size": median, "expected": expected}
            )
        return rows

    def size_words(self, size: float | None, curve: PodCurve) -> str:
        """A size with its unit, or how it lies to those that were tried."""
        if size is None:
            return "not determined"
        if size == 0:
            return f"< {curve.sizes[0]:.3g} {self.unit}"
        if math.isinf(size):
            return f"> {curve.sizes[-1]:.3g} {self.unit}"
        return f"{size:.3g} {self.unit}"

    # To and from a folder.

    def write(self, folder: Path) -> Path:
        """Writes `RESULT_FILE` into this folder, which is made.

        Raises:
            DiskFullError: no room.
        """
        with explain_full_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
        path = folder / RESULT_FILE
        write_atomically(path, (json.dumps(self.model_dump(mode="json")) + "\n").encode())
        return path

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `write` wrote.

        Raises:
            ModelError: it is missing or damaged.
        """
        try:
            return cls.model_validate(read_json(folder / RESULT_FILE))
        except (OSError, ValueError, ValidationError) as error:
            raise ModelError(
                f"{folder / RESULT_FILE} is missing or damaged: measure the detectability again."
            ) from error
