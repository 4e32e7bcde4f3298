"""From the scores of held-out good images to p-values, thresholds with a promise, and a fixed colour range.

The held-out images are good images that the model was not trained on. A new good image is one more of the
same kind: as long as the n held-out images and the new one are exchangeable (any order of the n + 1 is
equally likely), the new score is as likely to be the largest as any other, and no assumption about the model
or the distribution of its scores is needed. This is conformal prediction.

*Why the threshold keeps its promise.* Let v be the (k+1)-th largest held-out score. If a new good image
scores strictly above v, then at most k held-out images score at or above it: among all n + 1 it is one of the
k + 1 largest. By exchangeability each of the n + 1 images is in that place with the same probability, and at
most k + 1 of them can be, so

    P(false alarm) = P(score > v) <= (k + 1) / (n + 1),

with equality if there are no ties. The probability is over the new image *and* the draw of the held-out ones:
for one given model the rate scatters around it, less so the larger n is.

*Without images to spare* (`folds`): the good images are divided into K folds, and each image is scored by a model that
was made without its fold. If every one of the K models judged new images too, p-values would be valid up to a factor of
two (Barber, Candès, Ramdas, Tibshirani, "Predictive inference with the jackknife+", https://arxiv.org/abs/1905.02928,
for cross-validation; Vovk, "Cross-conformal predictors", https://arxiv.org/abs/1208.0806). Here one model judges them,
made of all or most of the images. It is close to the K models as far as leaving out a K-th of the images hardly changes
scores, and then the rate is close to the one above; nothing bounds it in general.

References: Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", Springer 2005
(https://doi.org/10.1007/b106715); Bates, Candès, Lei, Romano, Sesia, "Testing for outliers with conformal
p-values", Annals of Statistics 51(1), 2023 (https://arxiv.org/abs/2104.08279).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from altub.errors import ConfigError, DataError, ModelError
from altub.inference.threshold import DEFAULT_FALSE_ALARM_RATE, ROUNDING, HeldOut, Threshold
from altub.inference.units import Unit

__all__ = ["NOT_CALIBRATED", "Calibration", "Joined"]

NOT_CALIBRATED = "This model has no calibration: train it to its first epoch's end."

_LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True, eq=False)
class Joined:
    """Good images that joined a calibration after the training; see `Calibration.extended_by`.

    Attributes:
        held_out: the calibration that they joined.
        scores, peaks: theirs, float64 (m,), each ascending.
    """

    held_out: Calibration
    scores: np.ndarray
    peaks: np.ndarray


@dataclass(frozen=True, eq=False)
class Calibration:
    """What held-out good images say about scores and map values of one model.

    Attributes:
        scores: image scores of the held-out good images, float64 (n,), ascending, read-only.
        peaks: the largest values of their maps, in the same form. None: the scores are the peaks.
        colour_low: map value at the dark end of the heatmap's colours.
        colour_high: map value at their bright end. Both hold for every image of this model, so that a colour
            always means the same anomaly.
        folds: 0: the images were not trained on. Else: scores of other models, that many, each without its fold.
        joined: those of `scores` and `peaks` that came later, of good images that people labelled; None: none did.

    Raises:
        DataError: there is no held-out image.
        ModelError: a score or the colour range is not finite.
    """

    scores: np.ndarray
    colour_low: float
    colour_high: float
    peaks: np.ndarray | None = None
    folds: int = 0
    joined: Joined | None = None

    def __post_init__(self) -> None:
        scores = np.array(self.scores, dtype=np.float64).ravel()
        if scores.size == 0:
            raise DataError(
                "No good images were held out, so no threshold can be set. Add good images and train again."
            )
        if not np.isfinite(scores).all():
            bad = int(np.count_nonzero(~np.isfinite(scores)))
            raise ModelError(
                f"The scores of {bad} of {scores.size} held-out good images are not finite numbers. "
                "Train the model again, with fp32 precision or a lower learning rate."
            )
        low, high = float(self.colour_low), float(self.colour_high)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ModelError(
                f"The colour range of the model's maps is {low} to {high}: it must be finite and not empty."
            )
        peaks = np.array(scores if self.peaks is None else self.peaks, dtype=np.float64).ravel()
        if peaks.shape != scores.shape or not np.isfinite(peaks).all():
            raise ModelError("The peaks of the held-out good images' maps are damaged. Fetch or train the model again.")
        for values in (scores, peaks):
            values.sort()
            values.flags.writeable = False
        for name, value in (("scores", scores), ("colour_low", low), ("colour_high", high), ("peaks", peaks)):
            object.__setattr__(self, name, value)  # the dataclass is frozen for everybody else

    @classmethod
    def fit(
        cls, scores: np.ndarray, pixel_values: np.ndarray, peaks: np.ndarray | None = None, *, folds: int = 0
    ) -> Calibration:
        """From the scores (n,) of held-out good images and the values of their anomaly maps (any shape).

        peaks (n,) are the maps' maxima, where they are not the scores. The median pixel is the low end of the colours,
        and the largest peak lies in the middle: what is brighter than the middle is beyond anything seen on a good
        image.
        """
        scores = np.asarray(scores, dtype=np.float64).ravel()
        highest = scores if peaks is None else np.asarray(peaks, dtype=np.float64).ravel()
        pixels = np.asarray(pixel_values).ravel()
        if scores.size == 0 or pixels.size == 0:
            raise DataError(
                "No good images were held out, so no threshold can be set. Add good images and train again."
            )
        low = float(np.median(pixels))
        # Scores that are not on the maps' scale, or maps without any variation, leave no
        # room below the score.
        half = next(
            (span for span in (float(highest.max()) - low, float(pixels.max()) - low) if span > 0),
            max(abs(low), 1.0) / 2,
        )
        return cls(scores=scores, colour_low=low, colour_high=low + 2 * half, peaks=peaks, folds=folds)

    @property
    def held_out(self) -> Calibration:
        """The calibration of the held-out images alone, without those that joined later."""
        return self if self.joined is None else self.joined.held_out

    def extended_by(self, scores: np.ndarray, peaks: np.ndarray) -> Calibration:
        """The held-out images together with further good images; what joined before is no part of it.

        The colours and the unit of scores stay those of the held-out images, so that numbers and pictures from before
        and after can be compared.

        Args:
            scores: (m,) of images that are exchangeable with a new good image and that the model was not trained on.
            peaks: (m,), the maxima of their maps.

        Raises:
            ModelError: one of them is not a finite number, or there are not as many peaks as scores.
        """
        held_out = self.held_out
        scores, peaks = (np.sort(np.array(values, dtype=np.float64).ravel()) for values in (scores, peaks))
        if not scores.size:
            return held_out
        return Calibration(
            scores=np.concatenate([held_out.scores, scores]),
            colour_low=held_out.colour_low,
            colour_high=held_out.colour_high,
            peaks=np.concatenate([held_out.peaks, peaks]),
            folds=held_out.folds,
            joined=Joined(held_out, scores, peaks),
        )

    @property
    def colour_range(self) -> tuple[float, float]:
        """The map values at the dark and the bright end of the colours."""
        return self.colour_low, self.colour_high

    @property
    def score_unit(self) -> Unit:
        """Of anomaly scores: 0 is the median held-out score, 1 the largest; images that joined later do not move it."""
        scores = self.held_out.scores
        return Unit.between(float(np.median(scores)), float(scores[-1]))

    @property
    def pixel_unit(self) -> Unit:
        """Of map values: 0 and 1 are the dark end and the middle of the colours, so that a colour is a number.

        By `fit` these are the median pixel of the held-out maps and their largest peak.
        """
        return Unit.between(self.colour_low, self.colour_low / 2 + self.colour_high / 2)

    def anomaly_score(self, score: float) -> float:
        """A raw score in `score_unit`."""
        return float(self.score_unit.of(score))

    def p_value(self, score: float) -> float:
        """Conformal p-value (1 + number of held-out scores >= score) / (n + 1); small: unlike a good image.

        For a good image P(p_value <= rate) <= rate for every rate. No value is below 1 / (n + 1).
        """
        if math.isnan(score):
            raise ValueError("the score is NaN: it has no p-value")
        n = self.scores.size
        at_or_above = n - int(np.searchsorted(self.scores, score, side="left"))
        return (1 + at_or_above) / (n + 1)

    def rates(self, most: int = 20) -> tuple[float, ...]:
        """False-alarm rates up to one half that n held-out images can tell apart, ascending: some of k / (n + 1).

        Each has another threshold and keeps its promise; a rate between two of them has the threshold of the lower one.
        The one that `DEFAULT_FALSE_ALARM_RATE` is given by is among them.

        Args:
            most: of them; from more the finer ones at the lower end are taken.
        """
        n = self.scores.size
        last = max(1, (n + 1) // 2)
        # By k: the (k+1)-th largest score and peak. Of equal ones the first, which promises most.
        by_rank = list(zip(self.scores[::-1].tolist(), self.peaks[::-1].tolist(), strict=True))
        distinct = [k for k in range(1, last + 1) if k == 1 or by_rank[k - 1] != by_rank[k - 2]]
        default = max((k for k in distinct if k / (n + 1) <= DEFAULT_FALSE_ALARM_RATE * (1 + ROUNDING)), default=1)
        if len(distinct) > most:
            places = {round(place) - 1 for place in np.geomspace(1, len(distinct), most - 1)}
            distinct = sorted({distinct[place] for place in places} | {default})
        return tuple(k / (n + 1) for k in distinct)

    def threshold(self, false_alarm_rate: float = DEFAULT_FALSE_ALARM_RATE) -> Threshold:
        """The lowest threshold that promises at most this share of false alarms among good images.

        With k = floor(rate * (n + 1)) - 1 its value is the (k+1)-th largest held-out score: k of them may lie above
        it, and by the argument on top of this module a new good image does with probability (k + 1) / (n + 1)
        at most. Then ``score > value`` says the same as ``p_value(score) <= rate``. In the same way a good image has
        any pixel above its pixel value, the (k+1)-th largest peak, at most as often.

        No threshold can promise a rate below 1 / (n + 1), because the new image is the largest of n + 1 that
        often. For such a rate the largest held-out score is taken, and ``warning`` says what it promises.

        One held-out image more or fewer moves the value by one place in the order of the held-out scores at most: to
        somewhere between the (k+2)-th and the k-th largest. Verdicts on scores between these two are borderline:
        (low, high] is the threshold's `band`. Where there is no score on one side (for k = 0 none is higher, and one
        more image might lie anywhere above), the distance to the neighbour on the other side is taken; a single
        held-out image has no band.

        Raises:
            ConfigError: the rate is not between 0 and 1.
        """
        rate, n = float(false_alarm_rate), self.scores.size
        if not 0 < rate < 1:
            raise ConfigError(
                f"The false-alarm rate is {rate:g}: it must lie between 0 and 1, "
                f"for example {DEFAULT_FALSE_ALARM_RATE:g}."
            )
        k = math.floor(rate * (n + 1) - 1 + ROUNDING)
        k = min(max(k, 0), n - 1)  # above n - 1 only by rounding, where the rate is just below 1
        origin, place = HeldOut(n, rate, (k + 1) / (n + 1), self.folds), n - 1 - k
        return Threshold(float(self.scores[place]), float(self.peaks[place]), origin, self._band(place))

    def at_rate_of(self, threshold: Threshold | None) -> Threshold | None:
        """The threshold of the rate that another one from held-out images was asked for; None for any other origin."""
        if threshold is None or not isinstance(threshold.origin, HeldOut):
            return None
        return self.threshold(threshold.origin.requested_rate)

    def _band(self, place: int) -> tuple[float, float] | None:
        """From the held-out score before this place in ascending order to the one after it."""
        scores, last = self.scores.tolist(), self.scores.size - 1
        if last == 0:
            return None
        value = scores[place]
        low = scores[place - 1] if place > 0 else 2 * value - scores[1]
        high = scores[place + 1] if place < last else 2 * value - low
        return max(low, -_LARGEST), min(high, _LARGEST)

    def to_dict(self) -> dict[str, object]:
        """Plain numbers that JSON keeps exactly; those of images that joined are apart from the held-out ones."""
        values: dict[str, object] = {
            "scores": self.held_out.scores.tolist(),
            "peaks": self.held_out.peaks.tolist(),
            "colour_low": self.colour_low,
            "colour_high": self.colour_high,
            "folds": self.folds,
        }
        if self.joined is not None:
            values["joined"] = {"scores": self.joined.scores.tolist(), "peaks": self.joined.peaks.tolist()}
        return values

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> Calibration:
        """The inverse of :meth:`to_dict`.

        Raises:
            ModelError: an entry is missing or is no number.
        """
        try:
            known = {name: values[name] for name in ("scores", "colour_low", "colour_high")}
            folds = values.get("folds", 0)  # what other versions did not write
            if type(folds) is not int or folds < 0:
                raise ValueError("the number of folds is no number")
            found = cls(**known, peaks=values.get("peaks"), folds=folds)
            return found.with_joined(values.get("joined"))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                "The calibration of this model is incomplete or damaged. Fetch or train it again."
            ) from error

    def with_joined(self, values: object) -> Calibration:
        """The held-out images with the entry "joined" of `to_dict`; None is none.

        Raises:
            ModelError: the entry is damaged.
        """
        if values is None:
            return self.held_out
        try:
            return self.extended_by(values["scores"], values["peaks"])  # type: ignore[index]
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                "The labelled images in the calibration of this model are damaged. Restore another version of it."
            ) from error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Calibration):
            return NotImplemented
        return self is other or self.to_dict() == other.to_dict()

    __hash__ = None  # holds an array
