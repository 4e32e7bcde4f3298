"""A threshold: a value for the score, one for pixels, and where the two come from.

Where a threshold comes from decides what it promises, so the origin travels with the values, also into JSON. Each
origin has a `promise`, a sentence, and a `warning`, where it cannot promise what was asked for:

    HeldOut   the scores of held-out good images; promises a false-alarm rate (`Calibration.threshold`)
    Labels    images that people labelled; promises a recall or a false-alarm rate with a confidence, or is cheapest
    Fixed     set by hand; promises nothing
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from altub.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["DEFAULT_FALSE_ALARM_RATE", "ROUNDING", "Fixed", "HeldOut", "Labels", "Origin", "Threshold"]

#: Share of good images that may be called anomalous unless another one is asked for.
DEFAULT_FALSE_ALARM_RATE = 0.05

ROUNDING = 1e-9  # 0.05 * 20 must count as 1 although it is computed in floating point


Target = Literal["recall", "false-alarm-rate", "cost"]


@dataclass(frozen=True)
class HeldOut:
    """From held-out good images, by the argument in `altub.inference.calibration`.

    Attributes:
        n: number of held-out good images.
        requested_rate: share of false alarms among good images that was asked for.
        promised_rate: upper bound of the expected share; above the requested one where n is too small for it. With
            `folds` it is an estimate.
        folds: 0: no image was trained on. Else each was held out from one of so many other models, made on the other
            folds, which gave its score (cross-conformal calibration).
    """

    n: int
    requested_rate: float
    promised_rate: float
    folds: int = 0
    kind: ClassVar[str] = "held-out"

    @property
    def keeps_request(self) -> bool:
        """Are n images enough to promise the requested rate?"""
        return self.requested_rate >= self.promised_rate * (1 - ROUNDING)

    @property
    def promise(self) -> str:
        if self.folds:
            return (
                f"About {_percent(self.promised_rate)} of good images are expected to exceed it ({self.n} good images, "
                f"each scored by a model that had not seen it, {self.folds} folds): an estimate, not a proven bound."
            )
        return (
            f"At most {_percent(self.promised_rate)} of good images are expected to exceed it "
            f"({self.n} held-out good image{'s' if self.n > 1 else ''})."
        )

    @property
    def warning(self) -> str | None:
        """What n images can promise instead, where they are too few."""
        if self.keeps_request:
            return None
        needed = math.ceil(1 / self.requested_rate - 1 - ROUNDING)
        return (
            f"With {self.n} held-out good image{'s' if self.n > 1 else ''} no threshold can promise a false-alarm "
            f"rate below {_percent(self.promised_rate)}; the largest held-out score is used. "
            f"A rate of {_percent(self.requested_rate)} needs at least {needed:,} held-out images."
        )


@dataclass(frozen=True)
class Labels:
    """From labelled images.

    Attributes:
        n_good, n_defective: number of images with each label.
        target: the quantity that is promised; "cost": the least expected cost on the labels, which promises no rate.
        level: smallest recall, or largest false-alarm rate, in 0 to 1; of a cost: how many false alarms a missed defect
            costs.
        confidence: probability, over the draw of the labelled images, that the promise holds; of a cost: 0.
    """

    n_good: int
    n_defective: int
    target: Target
    level: float
    confidence: float
    kind: ClassVar[str] = "labels"
    warning: ClassVar[None] = None

    @property
    def promise(self) -> str:
        counts = f"{self.n_good} good and {self.n_defective} defective labels"
        if self.target == "cost":
            return (
                f"The least expected cost if a missed defect costs as much as {self.level:.3g} false alarms "
                f"({counts}); it promises no rate."
            )
        bound = {"recall": "at least {} of defective images", "false-alarm-rate": "at most {} of good images"}
        return (
            f"With {_percent(self.confidence)} confidence {bound[self.target].format(_percent(self.level))} exceed it "
            f"({counts})."
        )


@dataclass(frozen=True)
class Fixed:
    """Set by hand."""

    kind: ClassVar[str] = "fixed"
    warning: ClassVar[None] = None
    promise: ClassVar[str] = "Set by hand: it promises no false-alarm rate."


Origin = HeldOut | Labels | Fixed
_ORIGINS: dict[str, type[Origin]] = {origin.kind: origin for origin in (HeldOut, Labels, Fixed)}


@dataclass(frozen=True)
class Threshold:
    """Above which score an image, and above which map value a pixel, is anomalous; equal is not above.

    Attributes:
        value: for the score.
        pixel_value: for the anomaly map.
        origin: where the two come from, and so what they promise.
        band: (low, high) around `value`: the verdict on a score in (low, high] is borderline. None: no score is.

    Raises:
        ConfigError: a value is not a finite number, or the band does not hold `value`.

    Example:
        >>> threshold = Threshold.fixed(0.5, 0.4)
        >>> threshold.is_exceeded_by(0.6), threshold.origin.kind
        (True, 'fixed')
        >>> Threshold.from_dict(threshold.to_dict()) == threshold
        True
    """

    value: float
    pixel_value: float
    origin: Origin
    band: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("value", "pixel_value"):
            try:
                value = float(getattr(self, name))
            except (TypeError, ValueError):
                value = math.nan
            if not math.isfinite(value):
                raise ConfigError(f"The threshold {getattr(self, name)!r} is not a finite number: give one.")
            object.__setattr__(self, name, value)  # the dataclass is frozen for everybody else
        if self.band is not None:
            low, high = map(float, self.band)
            if not (math.isfinite(low) and math.isfinite(high) and low <= self.value <= high):
                raise ConfigError(
                    f"The band {low:g} to {high:g} does not hold the threshold {self.value:g}: give one that does."
                )
            object.__setattr__(self, "band", (low, high))

    @classmethod
    def fixed(cls, value: float, pixel_value: float) -> Threshold:
        """A threshold set by hand, on the scales of the score and of the anomaly map."""
        return cls(value, pixel_value, Fixed())

    @property
    def warning(self) -> str | None:
        """What the threshold cannot promise, in words; None where it keeps what was asked for."""
        return self.origin.warning

    def is_exceeded_by(self, score: float) -> bool:
        """Is an image with this score anomalous?"""
        return bool(score > self.value)

    def is_borderline(self, score: float) -> bool:
        """Could one held-out image more or fewer turn the verdict on this score (`Calibration.threshold`)?

        False for thresholds from labels, whose promise has a confidence instead, and for those set by hand.
        """
        return self.band is not None and bool(self.band[0] < score <= self.band[1])

    def mask(self, anomaly_map: np.ndarray) -> np.ndarray:
        """bool, of the shape of the float32 map: where it is above `pixel_value`, compared in float32."""
        return anomaly_map > self.pixel_value

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON keeps exactly."""
        origin = {"kind": self.origin.kind, **asdict(self.origin)}
        band = None if self.band is None else list(self.band)
        return {"value": self.value, "pixel_value": self.pixel_value, "origin": origin, "band": band}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Threshold:
        """The inverse of `to_dict`.

        Raises:
            ModelError: an entry is missing, unknown, or of the wrong type.
        """
        try:
            origin = dict(values["origin"])
            kind = _ORIGINS[origin.pop("kind")]
            if any(not _is_plain(name, value) for name, value in origin.items()):  # a model comes from anywhere
                raise ValueError("an entry of the origin is of the wrong type")
            band = values.get("band")  # version 0.1.0 wrote none
            return cls(values["value"], values["pixel_value"], kind(**origin), band and tuple(band))
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise ModelError(
                "The threshold of this model is incomplete or damaged. Fetch or train the model again."
            ) from error


def _is_plain(name: str, value: Any) -> bool:
    """Is an entry of an origin what its class says: a number, or the name of a target?"""
    if name == "target":
        return value in get_args(Target)
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %"
