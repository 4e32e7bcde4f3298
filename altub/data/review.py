"""What to look at in a data set before training on it: duplicates, leaks into the test set, odd ones among the good.

* Exact duplicates have the same bytes (SHA-256).
* Near-duplicates of a training image among the test images make metrics optimistic. Two images count as such if they
  differ far less (mean absolute difference of small copies) than a good image usually does from the one most like it:
  images of one fixed part look alike too.
* Outliers among the good images are unlike all others: each image's local features (filter bank, no weights) are
  compared with those of every other good image; an image is scored by the places that fit worst, with itself left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from altub.backbones import create_backbone
from altub.data.category import Category, Sample
from altub.data.images import opened, to_tensor
from altub.errors import ImageError
from altub.files import read_bytes

if TYPE_CHECKING:
    import torch

__all__ = ["Review", "Reviewed", "review_images"]

SMALL = 32  # pixels of the copies that are compared for duplicates
NEAR = 0.25  # of the usual difference between a good image and the one most like it
SIDE = 96  # pixels of the images whose features are compared
GRID = 8  # places a side
WORST = 3  # places that make the score
OUTLIER = 10.0  # robust standard deviations above the median
FEWEST = 8  # good images without which nothing is usual
MOST_PLACES = 8192  # that an image is compared with; of more, a random choice

Part = Literal["train", "test"]


@dataclass(frozen=True)
class Reviewed:
    """One image. sha256: "" where it cannot be read. size: bytes. shape: (width, height). score: how unlike the other
    good images, in robust standard deviations above their median; None for test images and where there are too few."""

    sample: Sample
    part: Part
    sha256: str = ""
    size: int = 0
    shape: tuple[int, int] = (0, 0)
    score: float | None = None
    problem: str = ""

    @property
    def is_outlier(self) -> bool:
        return self.score is not None and self.score > OUTLIER


@dataclass(frozen=True)
class Review:
    """Every image of a category, and what stands out. duplicates: groups of the same bytes. leaks: pairs (training
    image, test image) that are the same or nearly so."""

    images: tuple[Reviewed, ...]
    duplicates: tuple[tuple[Reviewed, ...], ...]
    leaks: tuple[tuple[Reviewed, Reviewed], ...]

    @property
    def outliers(self) -> list[Reviewed]:
        """The most unlike first."""
        return sorted((image for image in self.images if image.is_outlier), key=lambda image: -(image.score or 0))

    @property
    def unreadable(self) -> list[Reviewed]:
        return [image for image in self.images if image.problem]


def review_images(category: Category, progress: Callable[[int, int], None] = lambda done, total: None) -> Review:
    """Looks at every image of the category once.

    Args:
        progress: called with the number of images that are done, and of all.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> parts = [rng.integers(90, 120, (64, 64, 3), dtype=np.uint8) for _ in range(9)]
        >>> found = review_images(Category.from_images("plate", [*parts, parts[0]], [parts[1]]))
        >>> [len(group) for group in found.duplicates], len(found.leaks)
        ([2, 2], 1)
    """
    parts: list[tuple[Part, Sample]] = [("train", sample) for sample in category.train]
    parts += [("test", sample) for sample in category.test]
    bank = create_backbone("filter-bank", image_size=SIDE)
    images, copies, features = [], [], []
    for number, (part, sample) in enumerate(parts, 1):
        image, copy, places = _look(sample, part, bank)
        images.append(image)
        copies.append(copy)
        features.append(places if part == "train" else None)
        progress(number, len(parts))
    for position, score in _scores(features).items():
        found = images[position]
        images[position] = Reviewed(found.sample, found.part, found.sha256, found.size, found.shape, score)
    return Review(tuple(images), _groups(images), _leaks(images, copies))


def _look(
    sample: Sample, part: Part, bank: torch.nn.Module
) -> tuple[Reviewed, torch.Tensor | None, torch.Tensor | None]:
    import torch
    import torch.nn.functional as F

    try:
        content = read_bytes(sample.path) if sample.image is None else _content(sample.image)
        with opened(sample.source) as image:
            shape = image.size
            small = to_tensor(image, SIDE)[None]
    except (ImageError, OSError) as error:
        return Reviewed(sample, part, problem=str(error)), None, None
    with torch.no_grad():
        maps = [F.adaptive_avg_pool2d(level, GRID)[0].flatten(1).T for level in bank(small)]
    copy = F.adaptive_avg_pool2d(small, SMALL).flatten()
    reviewed = Reviewed(sample, part, hashlib.sha256(content).hexdigest(), len(content), shape)
    return reviewed, copy, torch.cat(maps, dim=1)


def _content(image: object) -> bytes:
    if isinstance(image, bytes):
        return image
    return np.asarray(image).tobytes() if not hasattr(image, "read") else b""


def _scores(features: Sequence[torch.Tensor | None]) -> dict[int, float]:
    """Position of a good image -> its score; empty where there are too few."""
    known = [position for position, places in enumerate(features) if places is not None]
    if len(known) < FEWEST:
        return {}
    import torch

    everything = torch.stack([features[position] for position in known])  # (N, P, C)
    spread = everything.flatten(0, 1).std(0)
    bank = everything / spread.clamp_min(1e-3)
    count, places, _ = bank.shape
    owner = torch.arange(count).repeat_interleave(places)
    flat, raw = bank.flatten(0, 1), []
    if len(flat) > MOST_PLACES:
        chosen = torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))[:MOST_PLACES]
        flat, owner = flat[chosen], owner[chosen]
    for k in range(count):
        nearest = torch.cdist(bank[k], flat[owner != k]).amin(1)
        raw.append(float(nearest.topk(min(WORST, places)).values.mean()))
    values = np.array(raw)
    middle = float(np.median(values))
    # 1.4826: a normal distribution's standard deviation in its median deviation. Never below 3 % of the median, so that
    # images that are all but the same have no outliers by rounding.
    deviation = max(1.4826 * float(np.median(np.abs(values - middle))), 0.03 * middle, 1e-6)
    return {position: (value - middle) / deviation for position, value in zip(known, raw, strict=True)}


def _groups(images: Sequence[Reviewed]) -> tuple[tuple[Reviewed, ...], ...]:
    found: dict[tuple[str, Part], list[Reviewed]] = {}  # one in training and one in test is a leak
    for image in images:
        if image.sha256:
            found.setdefault((image.sha256, image.part), []).append(image)
    return tuple(tuple(group) for group in found.values() if len(group) > 1)


def _leaks(images: Sequence[Reviewed], copies: Sequence[torch.Tensor | None]) -> tuple[tuple[Reviewed, Reviewed], ...]:
    train = [k for k, image in enumerate(images) if image.part == "train" and copies[k] is not None]
    test = [k for k, image in enumerate(images) if image.part == "test" and copies[k] is not None]
    if len(train) < 2 or not test:
        return ()
    import torch

    good = torch.stack([copies[k] for k in train])
    among = torch.cdist(good, good, p=1) / good.shape[1]
    among.fill_diagonal_(float("inf"))
    limit = NEAR * float(among.amin(1).median())
    across = torch.cdist(torch.stack([copies[k] for k in test]), good, p=1) / good.shape[1]
    return tuple(
        (images[j], images[k])
        for row, k in zip(across, test, strict=True)
        for j, difference in zip(train, row.tolist(), strict=True)
        if difference < limit or images[j].sha256 == images[k].sha256
    )
