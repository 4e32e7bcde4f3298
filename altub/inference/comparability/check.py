"""Is a picture comparable with the training images at all?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Self

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from altub.inference.comparability.limits import STATISTICS, Limit, Statistic, fit_limit
from altub.inference.comparability.statistics import picture_statistics

__all__ = ["Comparability"]

_BULK = 0.5  # of the way from a usual pixel of good images to their highest one
_MOST_IS_UNUSUAL = "Most of the image differs from training images, not a part of it"


class Comparability(BaseModel):
    """What the good images of a training look like as a whole; part of a saved model.

    Attributes:
        images: how many good images it was made from, trained on and held out.
        side: of the square that pictures are scaled to, in pixels.
        limits: by the names of `picture_statistics`; a number without a limit is not looked at.
        map_median: limit for the median of an anomaly map, in the map's unit.
    """

    # Bounded and finite throughout: a model may come from anywhere.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    images: int = Field(ge=1, le=1 << 40)
    side: int = Field(ge=1, le=4096)
    limits: Annotated[dict[Annotated[str, Field(max_length=100)], Limit], Field(max_length=100)]
    map_median: Limit | None = None

    @classmethod
    def fit(cls, pictures: Sequence[Mapping[str, float]], side: int, *, without: Collection[str] = ()) -> Self:
        """By the `picture_statistics` of good images, at least one.

        Args:
            without: names of numbers that are not looked at.
        """
        limits = {
            name: fit_limit(statistic, [picture[name] for picture in pictures])
            for name, statistic in STATISTICS.items()
            if name not in without
        }
        return cls(images=len(pictures), side=side, limits=limits)

    def with_maps(self, maps: np.ndarray) -> Self:
        """With the limit for anomaly maps, by those of held-out good images (n, h, w) of the same model."""
        # A defect raises the highest values of a map and its surroundings, not the half of it that is most usual.
        least = _BULK * (float(maps.max()) - float(np.median(maps)))
        statistic = Statistic("map", None, least, lambda value, limit: _MOST_IS_UNUSUAL)
        return self.model_copy(update={"map_median": fit_limit(statistic, np.median(maps, axis=(1, 2)).tolist())})

    def reasons(self, image: Image.Image, anomaly_map: np.ndarray) -> tuple[str, ...]:
        """Why an image is not comparable, one sentence for each kind of difference; empty where it is.

        Args:
            image: RGB, at its own size.
            anomaly_map: (h, w), of the model that this belongs to.
        """
        found: dict[str, str] = {}
        numbers = picture_statistics(image, self.side)
        for name, statistic in STATISTICS.items():
            limit = self.limits.get(name)
            if limit is not None and statistic.family not in found and limit.excludes(numbers[name]):
                found[statistic.family] = statistic.words(numbers[name], limit)
        if self.map_median is not None and self.map_median.excludes(float(np.median(anomaly_map))):
            found["map"] = _MOST_IS_UNUSUAL
        return tuple(found.values())
