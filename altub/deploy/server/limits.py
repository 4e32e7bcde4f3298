"""What the owner of a server allows trainings that visitors start: queue, epochs, image size and time.

The limits come from `altub.settings`. They bind what the page starts, not what somebody types on the machine.
"""

from __future__ import annotations

import threading
from pathlib import Path

from altub import settings
from altub.errors import ConfigError, RunError
from altub.runs.run import Run, Status, list_runs
from altub.training.config import TrainingConfig

__all__ = ["ADMISSION", "TimeLimit", "check_config", "check_may_resume", "check_room_in_queue"]

#: Held from the look at the queue to the start of a training: two visitors cannot both take the last place.
ADMISSION = threading.Lock()


def check_config(config: TrainingConfig) -> None:
    """Refuses a training that is larger than allowed.

    Raises:
        ConfigError: too many epochs, or images too large.
    """
    epochs, size = settings.max_epochs(), settings.max_image_size()
    if epochs and config.epochs > epochs:
        raise ConfigError(f"A training here has at most {epochs} epochs, not {config.epochs}: lower Epochs.")
    if config.image_size > size:
        raise ConfigError(f"A training here has images up to {size} px, not {config.image_size}: lower Image size.")


def check_room_in_queue(root: Path | None = None) -> None:
    """Refuses one more training where as many wait as may.

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
            "them has begun."
            if most
            else "Another training is under way, and none may wait here. Try again when it has ended."
        )


def check_may_resume(run: Run) -> None:
    """Refuses to go on with a training that has used up its time.

    Raises:
        RunError: it has.
    """
    if _is_over(run.read_status().seconds):
        raise RunError(f"{_time_words()} This one has used them up; its model stays as it is.")


class TimeLimit:
    """Ends a training when its time is up. The time of earlier processes of the same run counts; waiting does not.

    Args:
        run: the run that is trained.
        active: False takes every question for unlimited.
    """

    def __init__(self, run: Run, active: bool = True) -> None:
        self.run, self.active, self.seconds = run, active, run.read_status().seconds

    def see(self, status: Status) -> None:
        """Takes note of how long was trained."""
        self.seconds = status.seconds

    def is_over(self) -> bool:
        return self.active and _is_over(self.seconds)

    def explain(self) -> None:
        """Adds the reason to the status of a run that was stopped by this limit."""
        status = self.run.read_status()
        if status.state == "stopped" and self.is_over() and _time_words() not in status.message:
            status.message = f"{status.message} {_time_words()}".strip()
            self.run.write_status(status)


def _is_over(seconds: float) -> bool:
    minutes = settings.max_minutes()
    return minutes > 0 and seconds >= 60 * minutes


def _time_words() -> str:
    minutes = settings.max_minutes()
    return f"A training here may take {minutes} minute{'s' if minutes != 1 else ''}."
