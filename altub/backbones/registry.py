"""Backbones by name: the filter bank, what was registered, and any model of timm. Free of torch until one is made.

register_backbone("mine", lambda: MyNetwork.from_file("weights.safetensors"))
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from altub.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from torch import nn

    from altub.backbones.pyramid import Backbone

__all__ = [
    "AUTO",
    "FILTER_BANK",
    "RegisteredBackbone",
    "create_backbone",
    "is_registered",
    "register_backbone",
    "registered_backbones",
]

logger = logging.getLogger(__name__)

AUTO = "auto"
FILTER_BANK = "filter-bank"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class RegisteredBackbone:
    """A backbone that is built by a function."""

    name: str
    title: str
    create: Callable[[Sequence[int] | None, int], Backbone]
    """(stages, image size) to the backbone."""


_registered: dict[str, RegisteredBackbone] = {}


def register_backbone(
    name: str, build: Callable[[], nn.Module], *, title: str | None = None, replace: bool = False
) -> None:
    """Makes a backbone of your own known to configurations and saved models, in this process.

    Args:
        name: what `TrainingConfig.backbone` says. It goes before a model of timm with the same name.
        build: called without arguments; gives a module from images (N, 3, H, W) in [0, 1] to one or several maps
            (N, C, h, w), with its weights. It is frozen and hashed by them, and its channels and strides are found by
            a trial. A `Backbone` (from `Backbone.from_module`, with further settings) is used as it is.
        title: what people read; default the name.
        replace: needed to register a name a second time.

    Raises:
        ConfigError: the name is not usable or taken.
    """
    if name in (AUTO, FILTER_BANK) or not NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a backbone of your own: use letters, digits, dots, dashes and "
            f"underscores, and not {AUTO} or {FILTER_BANK}."
        )
    if name in _registered and not replace:
        raise ConfigError(f"There is a backbone {name!r} already: choose another name, or pass replace=True.")

    def create(stages: Sequence[int] | None, image_size: int) -> Backbone:
        from altub.backbones.module import wrap_module
        from altub.backbones.pyramid import Backbone

        module = build()
        if isinstance(module, Backbone):
            if stages is not None and tuple(stages) != module.stages:
                has = ", ".join(map(str, module.stages))
                raise ConfigError(f"The backbone {name} is registered with the stages {has}: leave the stages out.")
            return module
        return wrap_module(module, name, stages=stages, image_size=image_size)

    _registered[name] = RegisteredBackbone(name, title or name, create)


def registered_backbones() -> Mapping[str, RegisteredBackbone]:
    """Name -> what was registered, the filter bank first."""
    return MappingProxyType(_registered)


def is_registered(name: str) -> bool:
    """Is it the filter bank or a backbone of the user's own, rather than a model of timm?"""
    return name in _registered


def create_backbone(
    name: str = AUTO,
    stages: Sequence[int] | None = None,
    *,
    pretrained: bool = True,
    image_size: int = 256,
    expected_sha256: str | None = None,
    download: bool = True,
    check_size: bool = True,
) -> Backbone:
    """Build a frozen backbone.

    Args:
        name: a timm name, "filter-bank", a registered name, or "auto" (see :func:`resolve_auto`).
        stages: increasing indices of the features; None takes the preset's, else (1, 2, 3), for a transformer the
            block two thirds up, for a module of your own all its outputs.
        pretrained: False gives random weights, reproducible under ``torch.manual_seed``.
        image_size: side in pixels, checked against what the backbone takes. A backbone of fixed size ignores it:
            ``fixed_image_size`` says what it takes.
        expected_sha256: the weights must have this hash; sources that hold others are passed over.
        download: False: weights that are not on this machine are not fetched from the Hub, and nothing is built
            before they were found; for names that come from somebody else's model.
        check_size: False: another ``image_size`` than the backbone takes is no error.

    Raises:
        ConfigError: no such model, stage or image size.
        WeightsError: the weights are not available, do not fit, or are others than expected.
    """
    if name == AUTO:
        return _create_auto(stages, pretrained, image_size, expected_sha256)
    if (known := _registered.get(name)) is not None:
        backbone = known.create(stages, image_size)
        if expected_sha256 is not None:
            backbone.check_weights(expected_sha256)
    else:
        from altub.backbones.timm import create_timm

        backbone = create_timm(name, stages, pretrained, expected_sha256, download)
    if check_size and backbone.fixed_image_size is None:
        backbone.check_image_size(image_size, image_size)
    return backbone


def _create_auto(
    stages: Sequence[int] | None, pretrained: bool, image_size: int, expected_sha256: str | None
) -> Backbone:
    from altub.backbones.catalogue import resolve_auto, weights_available

    settings = {"pretrained": pretrained, "image_size": image_size, "expected_sha256": expected_sha256}
    name, _ = resolve_auto()
    try:
        return create_backbone(name, stages, **settings)
    except WeightsError as error:
        # Only where the Hub answered the probe and then failed: a file that is broken must be seen.
        if expected_sha256 is not None or weights_available(name) is not None:
            raise
        logger.warning("%s The filter bank is used instead.", error)
        return create_backbone(FILTER_BANK, stages, **settings)


def _filter_bank(stages: Sequence[int] | None, image_size: int) -> Backbone:
    from altub.backbones.filter_bank import create_filter_bank

    return create_filter_bank(stages)


_registered[FILTER_BANK] = RegisteredBackbone(FILTER_BANK, "Filter bank (no download)", _filter_bank)
