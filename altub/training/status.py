"""Where a training is: the content of a run directory's status.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["ENDED", "State", "Status"]

State = Literal["queued", "running", "stopped", "failed", "finished", "interrupted"]
ENDED: tuple[State, ...] = ("stopped", "failed", "finished", "interrupted")


class Status(BaseModel):
    """Where a run is. "interrupted" is never written: it is what a reader sees when the trainer is gone."""

    model_config = ConfigDict(extra="ignore")

    state: State = "queued"
    stage: str = ""  # what is being done right now, in words
    phase: str = ""  # "flow" or "base" while training
    epoch: int = 0  # epochs completed
    epochs: int = 0
    step: int = 0  # steps done in the running epoch
    steps: int = 0
    progress: float = 0.0  # 0..1 of the whole training
    loss: float | None = None  # nats per dimension, running mean of this epoch
    seconds: float = 0.0  # trained so far, over all resumes
    seconds_left: float | None = None
    message: str = ""  # for the user: why it ended, what to know
    notes: list[str] = []
    device: str = ""
    backbone: str = ""
    pid: int | None = None
    created: float = 0.0
    queued_at: float = 0.0  # last time it was put into the queue
    updated: float = 0.0

    # Transitions. Whoever makes one writes the status afterwards.

    def to_queued(self, stage: str = "queued", *, pid: int | None = None) -> None:
        """It waits: for a process to start (no `pid` yet), or as process `pid` in the queue."""
        self.state, self.stage, self.phase, self.message, self.pid = "queued", stage, "", "", pid

    def to_running(self, stage: str | None = None) -> None:
        self.state = "running"
        self.stage = self.stage if stage is None else stage

    def to_stopped(self, message: str | None = None) -> None:
        """It ended before its last epoch and can be resumed; by default the message says after which epoch."""
        within = f" and step {self.step}" if self.step else ""
        self._end("stopped", f"Stopped after epoch {self.epoch}{within}." if message is None else message)

    def to_failed(self, message: str) -> None:
        """It ended with a problem, which `message` tells."""
        self._end("failed", message)

    def to_finished(self) -> None:
        self._end("finished", self.message)
        self.progress, self.seconds_left, self.step = 1.0, 0.0, 0

    def _end(self, state: State, message: str) -> None:
        self.state, self.stage, self.phase, self.message, self.seconds_left = state, state, "", message, None
