"""Alternating training of a flow and its base: settings, schedule, one step, the loop, checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.training.config import PRESETS, TrainingConfig, make_config
    from altub.training.loop import TrainingEvent, train
    from altub.training.schedule import VARIANTS, BaseSchedule

__all__ = ["PRESETS", "VARIANTS", "BaseSchedule", "TrainingConfig", "TrainingEvent", "make_config", "train"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "PRESETS": ".config",
        "TrainingConfig": ".config",
        "make_config": ".config",
        "TrainingEvent": ".loop",
        "train": ".loop",
        "VARIANTS": ".schedule",
        "BaseSchedule": ".schedule",
    },
)
