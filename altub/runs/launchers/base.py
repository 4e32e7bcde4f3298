"""What starts, stops and watches a training, and how to find it for a run.

Nothing outside `altub.runs` asks how a run is being trained: `find_launcher(run)` does everything. Launchers are found
by the dotted names below, so that this room imports none of the rooms that a launcher may need.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from altub.errors import RunError

if TYPE_CHECKING:
    from altub.runs.run import Run, Status

__all__ = ["Follower", "Launcher", "LocalLauncher", "Place", "find_launcher", "make_launcher", "register_launcher"]

#: Launcher -> its class, as "module:name"; made without arguments.
_CLASSES = {
    "process": "altub.runs.launchers.process:ProcessLauncher",
    "hf_jobs": "altub.runs.launchers.hf_jobs.launcher:HfJobsLauncher",
}


@dataclass(frozen=True)
class Place:
    """Where a run is trained if not on this machine, for people.

    Attributes:
        name: of the service.
        detail: such as the hardware.
        links: (text, address) of pages that show the training; the first is the best one.
    """

    name: str
    detail: str
    links: tuple[tuple[str, str], ...]


class Follower(Protocol):
    """Keeps the directory of a run that is trained elsewhere up to date."""

    def look(self) -> Status:
        """Updates the run directory and returns its status; problems of the service are in the status' message."""

    @property
    def is_over(self) -> bool:
        """Has the training ended?"""


class Launcher(Protocol):
    """One way of training runs.

    Attributes:
        is_local: it trains on this machine: its runs wait in the queue and can be watched without a follower.
    """

    is_local: bool

    def prepare(self) -> None:
        """A training will probably be started soon; returns at once, and fails never."""

    def start(self, run: Run) -> None:
        """Starts (or queues) a run that was just created; returns at once.

        Raises:
            AltUBError: it could not be started; the run's status says so too.
        """

    def resume(self, run: Run) -> None:
        """Starts a run that ended early again, from its last state; returns at once.

        Raises:
            AltUBError: it could not be started.
        """

    def stop(self, run: Run) -> str:
        """Asks a queued or running training to stop; returns what happens now, in a sentence.

        Raises:
            AltUBError: it could not be asked.
        """

    def place(self, run: Run) -> Place | None:
        """Where the run is trained; None: on this machine.

        Raises:
            RunError: the run directory's note of it is damaged.
        """

    def follower(self, run: Run) -> Follower | None:
        """Brings the run directory up to date; None: the trainer itself writes it.

        Raises:
            RunError: as `place`.
        """


class LocalLauncher:
    """What all launchers do that train on this machine, where the run directory is all that they share with others."""

    is_local = True

    def prepare(self) -> None:
        pass

    def start(self, run: Run) -> None:
        raise NotImplementedError

    def resume(self, run: Run) -> None:
        run.clear_stop()
        run.mark_queued()
        self.start(run)

    def stop(self, run: Run) -> str:
        run.request_stop()
        return "The training stops after the current step; nothing is lost."

    def place(self, run: Run) -> Place | None:
        return None

    def follower(self, run: Run) -> Follower | None:
        return None


def register_launcher(name: str, launcher: str) -> None:
    """Adds a launcher, or replaces one: `launcher` names its class as "module:name"."""
    _CLASSES[name] = launcher


def make_launcher(name: str) -> Launcher:
    """A launcher of this name.

    Raises:
        RunError: there is none.
    """
    if name not in _CLASSES:
        raise RunError(f"There is no launcher {name!r}: choose one of {', '.join(sorted(_CLASSES))}.")
    module, _, attribute = _CLASSES[name].partition(":")
    return getattr(import_module(module), attribute)()


def find_launcher(run: Run, default: Launcher | None = None) -> Launcher:
    """What trains this run: the launcher that its directory names, else `default`, else processes of this machine."""
    if run.launcher is not None:
        return make_launcher(run.launcher)
    return default or make_launcher("process")
