"""The settings of `altub.inference.framing`, free of torch, so that a configuration can be checked without it."""

from __future__ import annotations

from typing import Literal, Protocol

from altub.errors import ConfigError

__all__ = ["MOST_SIDE", "Aspect", "HasFraming", "framing_problem", "require_plain"]

Aspect = Literal["squash", "keep"]

MOST_SIDE = 4096  # pixels of what a model sees at once
LEAST_SIDE = 32


class HasFraming(Protocol):
    """Settings that tell the framing: of a training, or of a detector."""

    image_size: int
    tile: int
    overlap: int
    aspect: Aspect


def framing_problem(settings: HasFraming) -> str | None:
    """What is wrong with the framing, in words; None where nothing is."""
    if not settings.tile:
        if settings.image_size > MOST_SIDE:
            return f"an image size above {MOST_SIDE} px needs tiles: set tile, such as 256"
        return None
    if settings.tile < LEAST_SIDE:
        return f"tile is {settings.tile} px: use at least {LEAST_SIDE} px, or 0 for none"
    if settings.tile > settings.image_size:
        return f"tile is {settings.tile} px and larger than image_size, {settings.image_size} px"
    if settings.overlap > settings.tile // 2:
        return f"overlap is {settings.overlap} px: at most half of tile, {settings.tile // 2} px"
    return None


def require_plain(settings: HasFraming, what: str) -> None:
    """Refuses what is not possible with models that do not squash every image as a whole.

    Raises:
        ConfigError: the model cuts images into tiles, or keeps their aspect ratio.
    """
    if settings.tile or settings.aspect != "squash":
        raise ConfigError(
            f"A model that cuts images into tiles, or keeps their aspect ratio, cannot be {what}: train one "
            "without tile and with aspect=squash."
        )
