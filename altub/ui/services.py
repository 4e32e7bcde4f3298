"""What all visitors of one page share: made once by `build_app`, handed to every tab."""

from __future__ import annotations

import threading
from functools import cached_property

from altub.deploy.server import limits, visitors
from altub.inference.model_cache import ModelCache
from altub.labels import LabelStore
from altub.labels.inspections import InspectionLog
from altub.line.history import DriftHistories
from altub.line.recorder import Recorder
from altub.line.watched import WatchedFolders
from altub.runs import queue
from altub.runs.launchers.base import Launcher
from altub.runs.run import Run
from altub.runs.time_limit import check_time_left
from altub.settings import uploads_are_shared
from altub.training.config import TrainingConfig
from altub.ui.background import BackgroundTask
from altub.ui.inspect.sessions import SessionStore
from altub.ui.label.scorer import Scorer
from altub.ui.watch import RunWatch

__all__ = ["Services"]


class Services:
    """The state of one page behind its visitors' own.

    Attributes:
        launcher: trains the runs of this machine; None: processes.
        models: the loaded models.
        sessions: the visitors' batches of inspected images.
        watch: what is known of all runs.
        sample, download: the making of the sample and the download of MVTec AD, which every visitor watches.
        scorer: what models say of the images of the label store.
        recorder: logs what is inspected, where visitors may see each other's images.
        histories: the drift watches over that log.
        folders: those in which images are inspected as they arrive.
    """

    def __init__(
        self,
        launcher: Launcher | None = None,
        models: ModelCache | None = None,
        sessions: SessionStore | None = None,
    ) -> None:
        self.launcher = launcher
        self.models = models or ModelCache()
        self.sessions = sessions or SessionStore()
        self.watch = RunWatch()
        self.sample = BackgroundTask("Making the sample")
        self.download = BackgroundTask("The download")
        self.scorer = Scorer(self.models, lambda: self.labels)
        self.recorder = Recorder(lambda: InspectionLog(self.labels.db), enabled=uploads_are_shared())
        self.histories = DriftHistories()
        self.folders = WatchedFolders()
        # Held from the look at the queue to the start of a training: two visitors cannot both take the last place.
        self._admission = threading.Lock()

    @cached_property
    def labels(self) -> LabelStore:
        """The label store, opened when it is first used.

        Raises:
            LabelError: it is damaged, or of a newer version of AltUB.
        """
        return LabelStore()

    def expect_training(self) -> None:
        """Somebody looks at the form: a training will probably be started soon. Returns at once."""
        if self.launcher is not None:
            self.launcher.prepare()

    def start_training(self, config: TrainingConfig, visitor: str | None) -> Run:
        """Starts or queues a training for a visitor, within the owner's limits.

        Raises:
            AltUBError: it is too large, the queue is full, or it could not be started.
        """
        limits.check_config(config)
        with self._admission:
            limits.check_room_in_queue()
            run = queue.start(config, launcher=self.launcher)
        visitors.remember(run, visitor)
        self.watch.forget()
        return run

    def resume_training(self, run: Run, visitor: str | None) -> None:
        """Resumes a training that ended early.

        Raises:
            AltUBError: it is another visitor's, its time is up, the queue is full, or it could not be started.
        """
        visitors.check_may_control(run, visitor)
        check_time_left(run)
        with self._admission:
            limits.check_room_in_queue()
            queue.resume(run, self.launcher)
        self.watch.forget()

    def stop_training(self, run: Run, visitor: str | None) -> str:
        """Asks a training to stop; returns what happens now, in a sentence.

        Raises:
            AltUBError: it is another visitor's, it is not running, or it could not be asked.
        """
        visitors.check_may_control(run, visitor)
        note = queue.stop(run)
        self.watch.forget()
        return note

    def move_training(self, run: Run, places: int, visitor: str | None) -> None:
        """Moves a waiting training forward (places < 0) or back in the queue.

        Raises:
            AltUBError: it is another visitor's, or it does not wait any more.
        """
        visitors.check_may_control(run, visitor)
        queue.move(run, places)
        self.watch.forget()
