"""Handlers of the Train tab: start, watch, stop and resume a training.

Anybody can call a handler by its number, whatever the page shows, so each one validates its arguments. The order of
`look`'s values is that of `PARTS`.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from altub.data.sample import SAMPLE_CATEGORIES
from altub.deploy.server import visitors
from altub.errors import ConfigError, RunError
from altub.training.config import PRESETS, TrainingConfig, make_config
from altub.ui.errors import notice, show_errors
from altub.ui.html.zoom import dragged_range, parse_range
from altub.ui.marks import Updates
from altub.ui.services import Services
from altub.ui.train.checks import find_problems
from altub.ui.train.data_source import SAMPLE, find_category
from altub.ui.train.form_values import config_from
from altub.ui.train.heatmaps import large_example
from altub.ui.train.updates import (
    Seen,
    early_epoch,
    show_empty,
    show_picker,
    show_progress,
    show_queue,
    show_status,
)
from altub.ui.watch import RunView

__all__ = ["LIVELY", "PARTS", "TrainHandlers"]

LIVELY, CALM = 1.0, 4.0  # seconds between two looks while something trains, and while nothing does
# The components that a look may change.
PARTS = (
    "runs",
    "picker",
    "start",
    "now",
    "stop",
    "resume",
    "inspect",
    "status",
    "first",
    "queue",
    "live",
    "tiles",
    "zoom",
    "loss",
    "metrics",
    "early",
    "examples",
    "head",
    "drift",
    "channels",
    "timer",
    "remembered",
    "arrived",
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
        problems, _ = find_problems(choice.data, choice.category, preset, *values)
        if problems:
            raise ConfigError(problems[0].text)
        self._start(seen, visitor, config_from(choice.data, choice.category, preset, *values))

    @show_errors("Training not started", duration=None)
    def start_sample(self, seen: Seen, visitor: str) -> None:
        """Trains the first category of the built-in sample with the first preset, whatever the form shows."""
        self._start(
            seen, visitor, make_config(next(iter(PRESETS)), data=SAMPLE, category=next(iter(SAMPLE_CATEGORIES)))
        )

    def _start(self, seen: Seen, visitor: str, config: TrainingConfig) -> None:
        run = self.services.start_training(config, visitor)
        for note in config.notes:
            gr.Warning(notice(note))
        view = self.watch.view(run.id)
        if view is not None and view.position:
            trainings = "1 training" if view.position == 1 else f"{view.position} trainings"
            gr.Info(notice(f"Queued: starts after {trainings}."))
        seen.choose(run.id)

    def look(self, seen: Seen, visitor: str, wish: Any, kind: str, arrived: Any) -> list[Any]:
        """What the page does not show yet; everything else is skipped.

        Args:
            wish: the run that the browser showed last.
            kind: of the drift's map, "mean" or "log_std".
            arrived: number of the last answer that the page has drawn.
        """
        with seen.lock:
            shown = Updates(seen.marks, arrived)
            views = self.watch.views()
            view = self.watch.view(seen.run_id)
            if view is None:
                view = self.watch.view(self.watch.choose(wish if isinstance(wish, str) else None))
                if view is not None:
                    seen.choose(view.id)
            show_picker(shown, views, view)
            busy = any(other.is_active for other in views)
            show_empty(shown, views)
            show_queue(shown, [other for other in views if other.position], visitor)
            shown.put("start", busy, lambda: gr.update(value="Queue training" if busy else "Start training"))
            events = self.watch.events(view.run) if view is not None else []
            show_status(shown, view, events, view is not None and visitors.may_control(view.run, visitor))
            if view is not None:
                show_progress(shown, view, events, seen, kind)
                shown.put("remembered", view.id, lambda: view.id)
            shown.put("timer", busy, lambda: gr.Timer(LIVELY if busy else CALM))
            seen.marks = shown.marks
        answer = {**shown.updates, "arrived": shown.number}
        return [answer.get(name, gr.skip()) for name in PARTS]

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

    def drag_zoom(self, seen: Seen, event: gr.EventData) -> None:
        """The epochs that were dragged over."""
        seen.zoom = dragged_range(event._data) or seen.zoom

    def clear_zoom(self, seen: Seen) -> None:
        """All epochs."""
        seen.zoom = None

    @show_errors("Range not shown")
    def type_zoom(self, seen: Seen, text: str | None) -> None:
        """The epochs that were typed."""
        seen.zoom = parse_range(text)

    def choose_log(self, seen: Seen, log: bool) -> None:
        """The axis of the loss."""
        seen.log = bool(log)

    @show_errors("Heatmaps not available")
    def enlarge(self, seen: Seen, event: gr.EventData) -> str:
        """One row of the heatmaps, large."""
        data = event._data if isinstance(event._data, dict) else {}
        run = self._view(seen.run_id).run
        return large_example(run, early_epoch(run, seen.epoch), data.get("example"))

    @show_errors("Training not stopped")
    def stop(self, seen: Seen, visitor: str) -> Any:
        """Asks the shown training to stop."""
        gr.Info(notice(self.services.stop_training(self._view(seen.run_id).run, visitor)))
        return gr.update(interactive=False)

    @show_errors("Queue not changed")
    def change_queue(self, seen: Seen, visitor: str, event: gr.EventData) -> None:
        """Shows, moves or cancels a waiting training."""
        data = event._data if isinstance(event._data, dict) else {}
        view, action = self._view(data.get("run")), data.get("action")
        if action == "show":
            seen.choose(view.id)
        elif action == "cancel":
            gr.Info(notice(self.services.stop_training(view.run, visitor)))
        elif action in ("up", "down"):
            self.services.move_training(view.run, -1 if action == "up" else 1, visitor)

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
