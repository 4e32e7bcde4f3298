"""How long a training may take that the page started (ALTUB_MAX_MINUTES); over all its resumes, without the waiting."""

from __future__ import annotations

from altub import settings
from altub.errors import RunError
from altub.runs.run import Run, Status

__all__ = ["TimeLimit", "check_time_left"]


class TimeLimit:
    """Ends a training when its time is up.

    Args:
        run: the run that is trained.
        active: False never ends it.
    """

    def __init__(self, run: Run, active: bool = True) -> None:
        self.run, self.active, self.seconds = run, active, run.read_status().seconds

    def update(self, status: Status) -> None:
        """Takes note of how long was trained."""
        self.seconds = status.seconds

    def is_over(self) -> bool:
        return self.active and _is_over(self.seconds)

    def explain(self) -> None:
        """Adds the reason to the status of a run that was stopped by this limit."""
        status = self.run.read_status()
        if status.state == "stopped" and self.is_over() and _limit() not in status.message:
            status.message = f"{status.message} {_limit()}".strip()
            self.run.write_status(status)


def check_time_left(run: Run) -> None:
    """Refuses to resume a training that has used up its time.

    Raises:
        RunError: it has.
    """
    if _is_over(run.read_status().seconds):
        raise RunError(f"{_limit()} This one has used them up; its model is kept.")


def _is_over(seconds: float) -> bool:
    minutes = settings.max_minutes()
    return minutes > 0 and seconds >= 60 * minutes


def _limit() -> str:
    minutes = settings.max_minutes()
    return f"A training here may take {minutes} minute{'s' if minutes != 1 else ''}."
