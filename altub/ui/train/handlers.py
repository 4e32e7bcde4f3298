"""Handlers of the Train tab: start, watch, stop and resume a training.

Anybody can call a handler by its number, whatever the page shows, so each one validates its arguments. The order of
`look`'s values is that of `PARTS`.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from altub.deploy.server import visitors
from altub.errors import ConfigError, RunError
from altub.ui.errors import notice, show_errors
from altub.ui.services import Services
from altub.ui.train.checks import find_problems
from altub.ui.train.data_source import find_category
from altub.ui.train.form_values import config_from
from altub.ui.train.updates import Seen, Updates, show_picker, show_progress, show_status
from altub.ui.watch import RunView

__all__ = ["LIVELY", "PARTS", "TrainHandlers"]

LIVELY, CALM = 1.0, 4.0  # seconds between two looks while something trains, and while nothing does
# The components that a look may change.
PARTS = (
    "picker",
    "stop",
    "resume",
    "status",
    "live",
    "tiles",
    "loss",
    "metrics",
    "early",
    "examples",
    "head",
    "drift",
    "channels",
    "timer",
    "remembered",
)


class TrainHandlers:
    """The handlers over one page's runs. is_local: may folders of this machine be named?"""

    def __init__(self, services: Services, *, is_local: bool) -> None:
        self.services, self.watch, self.is_local = services, services.watch, is_local

    @show_errors("Training not started", duration=None)
    def start(
        self, seen: Seen, visitor: str, source: str, category: str | None, folder: str | None, preset: str, *values: Any
    ) -> None:
        """Starts a training of the chosen images with the form's settings, and shows it."""
        choice = find_category(source, category, folder or "", self.is_local)
        config = config_from(choice.data, choice.category, preset, *values)
        problems, _ = find_problems(choice.data, choice.category, preset, *values)
        if problems:
            raise ConfigError(problems[0].text)
        run = self.services.start_training(config, visitor)
        for note in config.notes:
            gr.Warning(notice(note))
        view = self.watch.view(run.id)
        if view is not None and view.position:
            trainings = "1 training" if view.position == 1 else f"{view.position} trainings"
            gr.Info(notice(f"Queued: starts after {trainings}."))
        seen.choose(run.id)

    def look(self, seen: Seen, visitor: str, wish: Any, picture: str, is_dark: bool) -> list[Any]:
        """What changed since the page was drawn last; everything else is skipped.

        Args:
            wish: the run that the browser showed last.
            picture: "mean" or "log_std".
        """
        with seen.lock:
            shown = Updates(dict(seen.marks))
            views = self.watch.views()
            view = self.watch.view(seen.run_id)
            if view is None:
                view = self.watch.view(self.watch.choose(wish if isinstance(wish, str) else None))
                if view is not None:
                    seen.choose(view.id)
            show_picker(shown, views, view)
            events = self.watch.events(view.run) if view is not None else []
            show_status(shown, view, events, view is not None and visitors.may_control(view.run, visitor))
            if view is not None:
                show_progress(shown, view, events, seen.epoch, seen.scale, picture, bool(is_dark))
                shown.put("remembered", view.id, lambda: view.id)
            busy = any(other.is_active for other in views)
            shown.put("timer", busy, lambda: gr.Timer(LIVELY if busy else CALM))
            seen.marks = shown.marks
        return [shown.updates.get(name, gr.skip()) for name in PARTS]

    @show_errors("Run not available")
    def choose_run(self, seen: Seen, run_id: str | None) -> None:
        """Shows another run."""
        seen.choose(self._view(run_id).id)

    def choose_epoch(self, seen: Seen, epoch: int | None) -> None:
        """Another early epoch beside the latest heatmaps."""
        seen.epoch = epoch

    def choose_scale(self, seen: Seen, scale: int | None) -> None:
        """The base of another scale."""
        seen.scale = scale

    @show_errors("Training not stopped")
    def stop(self, seen: Seen, visitor: str) -> Any:
        """Asks the shown training to stop."""
        gr.Info(notice(self.services.stop_training(self._view(seen.run_id).run, visitor)))
        return gr.update(interactive=False)

    @show_errors("Training not resumed")
    def resume(self, seen: Seen, visitor: str) -> Any:
        """Resumes the shown training."""
        self.services.resume_training(self._view(seen.run_id).run, visitor)
        return gr.update(interactive=False)

    def _view(self, run_id: str | None) -> RunView:
        view = self.watch.view(run_id) if isinstance(run_id, str) else None
        if view is None:
            raise RunError("This run was removed: choose another one.")
        return view
