"""Is a picture comparable with the training images at all?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Self

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from altub.inference.comparability.limits import STATISTICS, Limit, fit_limit
from altub.inference.comparability.statistics import picture_statistics
from altub.inference.regions import Region, Regions, kept_pixels

__all__ = ["Comparability"]


class Comparability(BaseModel):
    """What the good images of a training look like as a whole; part of a saved model.

    Attributes:
        images: how many good images it was made from, trained on and held out.
        side: of the square that pictures are scaled to, in pixels.
        limits: by the names of `picture_statistics`; a number without a limit is not looked at.
        regions: what of the pictures counts; none: everything, as in earlier models.
    """

    # Bounded and finite throughout: a model may come from anywhere.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    images: int = Field(ge=1, le=1 << 40)
    side: int = Field(ge=1, le=4096)
    limits: Annotated[dict[Annotated[str, Field(max_length=100)], Limit], Field(max_length=100)]
    regions: Regions = ()

    @classmethod
    def fit(
        cls,
        pictures: Sequence[Mapping[str, float]],
        side: int,
        *,
        without: Collection[str] = (),
        regions: Sequence[Region] = (),
    ) -> Self:
        """By the `picture_statistics` of good images, at least one.

        Args:
            without: names of numbers that are not looked at.
            regions: which the numbers were taken in.
        """
        limits = {
            name: fit_limit(statistic, [picture[name] for picture in pictures])
            for name, statistic in STATISTICS.items()
            if name not in without
        }
        return cls(images=len(pictures), side=side, limits=limits, regions=tuple(regions))

    def reasons(
        self, image: Image.Image, *, small: Image.Image | None = None, size: tuple[int, int] | None = None
    ) -> tuple[str, ...]:
        """Why an image is not comparable, one sentence for each kind of difference; empty where it is.

        Args:
            image: RGB, at its own size.
            small, size: as of `picture_statistics`; a `small` of another side is not used.
        """
        if small is not None and small.size != (self.side, self.side):
            small = None
        found: dict[str, str] = {}
        inside = kept_pixels(self.regions, self.side, self.side) if self.regions else None
        numbers = picture_statistics(image, self.side, inside, small=small, size=size)
        for name, statistic in STATISTICS.items():
            limit = self.limits.get(name)
            if limit is not None and statistic.family not in found and limit.excludes(numbers[name]):
                found[statistic.family] = statistic.words(numbers[name], limit)
        return tuple(found.values())
