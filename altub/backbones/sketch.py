"""A backbone without its weights: what it takes and gives, known in milliseconds."""

from __future__ import annotations

from functools import lru_cache

from altub.backbones.pyramid import Backbone
from altub.backbones.registry import create_backbone, is_registered

__all__ = ["sketch_backbone"]


@lru_cache(maxsize=16)
def sketch_backbone(name: str, stages: tuple[int, ...] | None, image_size: int) -> Backbone:
    """The backbone of this name on PyTorch's meta device, without weights; a registered one as it is.

    Args:
        image_size: that a registered module is tried with; it is not checked.

    Raises:
        ConfigError: no such backbone, or it has no such stages.
    """
    if is_registered(name):
        return create_backbone(name, stages, image_size=image_size, check_size=False)
    from altub.backbones.timm import sketch_timm

    return sketch_timm(name, stages)
