"""What the verdicts at a threshold get right and wrong on a test set, in a sentence and by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from altub.data import Sample
from altub.inference.threshold import Threshold

__all__ = ["VerdictCounts"]


@dataclass(frozen=True)
class VerdictCounts:
    """Verdicts on labelled images.

    Attributes:
        defective, good: number of images.
        missed: defective images that are called good, as "defect/name", the least anomalous first.
        false_alarms: good images that are called defective, the most anomalous first.
    """

    defective: int
    good: int
    missed: tuple[str, ...]
    false_alarms: tuple[str, ...]

    @classmethod
    def of(cls, samples: Sequence[Sample], scores: np.ndarray, threshold: Threshold) -> VerdictCounts:
        """Of test images and their scores (N,)."""
        ranked = sorted(zip(scores.tolist(), samples, strict=True), key=lambda pair: pair[0])
        defective = [(score, sample) for score, sample in ranked if sample.is_defective]
        good = [(score, sample) for score, sample in ranked if not sample.is_defective]
        return cls(
            defective=len(defective),
            good=len(good),
            missed=tuple(_name(sample) for score, sample in defective if not threshold.is_exceeded_by(score)),
            false_alarms=tuple(_name(sample) for score, sample in reversed(good) if threshold.is_exceeded_by(score)),
        )

    @property
    def sentence(self) -> str:
        """For people.

        Example:
            >>> VerdictCounts(30, 16, ("scratch/007.png",), ()).sentence
            'On the test set: 30 defective images: 29 found, 1 missed; 16 good images: no false alarm.'
        """
        parts = []
        if self.defective:
            found = self.defective - len(self.missed)
            parts.append(f"{_images(self.defective, 'defective')}: {found} found, {len(self.missed)} missed")
        if self.good:
            alarms = len(self.false_alarms)
            parts.append(f"{_images(self.good, 'good')}: {alarms or 'no'} false alarm{'s' if alarms > 1 else ''}")
        return f"On the test set: {'; '.join(parts)}." if parts else "There are no test images."

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "missed": list(self.missed), "false_alarms": list(self.false_alarms)}


def _name(sample: Sample) -> str:
    return f"{sample.defect}/{sample.path.name}"


def _images(count: int, what: str) -> str:
    return f"{count} {what} image{'s' if count != 1 else ''}"
