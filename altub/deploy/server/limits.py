"""What the owner of a server allows trainings that visitors start: queue, epochs and image size.

The limits come from `altub.settings`. They apply to what the page starts, not to the command line. The limit of time is
in `altub.runs.time_limit`.
"""

from __future__ import annotations

from pathlib import Path

from altub import settings
from altub.errors import ConfigError
from altub.runs.run import list_runs
from altub.training.config import TrainingConfig

__all__ = ["check_config", "check_room_in_queue", "exceeded"]


def exceeded(config: TrainingConfig) -> dict[str, str]:
    """Setting -> what the owner allows instead, in a sentence; empty where the training is within the limits."""
    epochs, size = settings.max_epochs(), settings.max_image_size()
    found = {}
    if epochs and config.epochs > epochs:
        found["epochs"] = f"A training here has at most {epochs} epochs, not {config.epochs}: lower Epochs."
    if config.image_size > size:
        found["image_size"] = f"A training here has images up to {size} px, not {config.image_size}: lower Image size."
    return found


def check_config(config: TrainingConfig) -> None:
    """Refuses a training that is larger than allowed.

    Raises:
        ConfigError: too many epochs, or images too large.
    """
    for text in exceeded(config).values():
        raise ConfigError(text)


def check_room_in_queue(root: Path | None = None) -> None:
    """Refuses one more training if the queue is full.

    Raises:
        ConfigError: the queue is full.
    """
    most = settings.max_queue()
    if most is None:
        return
    active = sum(run.status.state in ("queued", "running") for run in list_runs(root))
    if active >= settings.max_jobs() + most:
        waiting = active - settings.max_jobs()
        raise ConfigError(
            f"The queue is full: {waiting} trainings wait already, and no more than {most} may. Try again when one of "
            "them has started."
            if most
            else "Another training is running, and none may wait here. Try again when it has ended."
        )
