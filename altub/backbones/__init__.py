"""Frozen feature pyramids: the contract, timm's models, a filter bank, modules of your own, and their weights.

`register_backbone` makes a backbone of your own known by a name; `Backbone.from_module` wraps a module that you have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.backbones.catalogue import (
        AUTO_BACKBONE,
        BACKBONE_PRESETS,
        BackbonePreset,
        resolve_auto,
        weights_available,
    )
    from altub.backbones.filter_bank import FilterBank
    from altub.backbones.pyramid import Backbone
    from altub.backbones.registry import FILTER_BANK, create_backbone, register_backbone
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
    "register_backbone",
    "resolve_auto",
    "weights_available",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "AUTO_BACKBONE": ".catalogue",
        "BACKBONE_PRESETS": ".catalogue",
        "BackbonePreset": ".catalogue",
        "resolve_auto": ".catalogue",
        "weights_available": ".catalogue",
        "FilterBank": ".filter_bank",
        "Backbone": ".pyramid",
        "FILTER_BANK": ".registry",
        "create_backbone": ".registry",
        "register_backbone": ".registry",
        "WeightsInfo": ".weights",
    },
)
