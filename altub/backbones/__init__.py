"""Frozen feature pyramids: the contract, timm's models, a filter bank, and where weights come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.backbones.backbone import (
        AUTO_BACKBONE,
        BACKBONE_PRESETS,
        FILTER_BANK,
        Backbone,
        BackbonePreset,
        create_backbone,
        resolve_auto,
        weights_available,
    )
    from altub.backbones.filter_bank import FilterBank
    from altub.backbones.weights import WeightsInfo

__all__ = [
    "AUTO_BACKBONE",
    "BACKBONE_PRESETS",
    "FILTER_BANK",
    "Backbone",
    "BackbonePreset",
    "FilterBank",
    "WeightsInfo",
    "create_backbone",
    "resolve_auto",
    "weights_available",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "AUTO_BACKBONE": ".backbone",
        "BACKBONE_PRESETS": ".backbone",
        "FILTER_BANK": ".backbone",
        "Backbone": ".backbone",
        "BackbonePreset": ".backbone",
        "create_backbone": ".backbone",
        "resolve_auto": ".backbone",
        "weights_available": ".backbone",
        "FilterBank": ".filter_bank",
        "WeightsInfo": ".weights",
    },
)
