"""The part of the Models tab that shows a model's own threshold and versions, and puts an older one back."""

from __future__ import annotations

import time
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from altub.errors import AltUBError, ModelError, RunError
from altub.inference.calibration import Calibration
from altub.inference.config import ModelVersion
from altub.inference.model_cache import ModelCache, read_model_config
from altub.inference.threshold import Threshold
from altub.inference.versions import list_versions, remove_version, restore_version, save_threshold
from altub.runs.run import Run
from altub.ui.choices import Choices
from altub.ui.errors import notice, show_errors
from altub.ui.offers import find_model

__all__ = ["build_versions", "versions_table"]

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
KINDS = {"trained": "training", "threshold": "threshold", "adapted": "adaptation", "calibration": "calibration"}
ABOUT = (
    "Every change of the threshold or the calibration and every adaptation to new images makes a version. Any of them "
    "can be put in use again; nothing is lost."
)


class VersionsHandlers:
    """The panel's handlers; each validates its arguments.

    Args:
        models: the loaded models.
        root: of the runs.
        may_change: may visitors of this page change its models?
    """

    def __init__(self, models: ModelCache, root: Path | None, *, may_change: bool) -> None:
        self.models, self.root, self.may_change = models, root, may_change

    def look(self, run_id: Any) -> list[Any]:
        """The panel of a run: visible where it has a model; threshold, table, and the versions to choose from."""
        try:
            run = self._run(run_id)
            config = read_model_config(run.model_dir)
        except AltUBError:
            return [gr.update(visible=False), *[gr.skip()] * 6]
        found = list_versions(run.model_dir)
        current = config.version.number if config.version is not None else None
        others = [version.number for version in found if version.number != current]
        choices = [(f"{number}", number) for number in others]
        can_choose = bool(others) and self.may_change
        return [
            gr.update(visible=True),
            self._threshold(run),
            versions_table(found, current),
            gr.update(choices=choices, value=others[-1] if others else None, visible=can_choose),
            gr.update(visible=can_choose),
            gr.update(visible=can_choose),
            gr.update(visible=self.may_change and config.threshold is not None),
        ]

    @show_errors("Version not restored")
    def restore(self, run_id: Any, number: Any) -> list[Any]:
        """Puts a version in use again."""
        version = restore_version(self._changeable(run_id).model_dir, _number(number))
        gr.Info(notice(f"Version {version.number} is in use."))
        return self.look(run_id)

    @show_errors("Version not deleted")
    def remove(self, run_id: Any, number: Any) -> list[Any]:
        """Deletes a version that is not in use."""
        remove_version(self._changeable(run_id).model_dir, _number(number))
        return self.look(run_id)

    @show_errors("Threshold not changed")
    def reset(self, run_id: Any) -> list[Any]:
        """Back to the threshold of the held-out good images, as a new version."""
        save_threshold(self._changeable(run_id).model_dir, None, "Threshold of the held-out good images.")
        return self.look(run_id)

    def _run(self, run_id: Any) -> Run:
        if not isinstance(run_id, str):
            raise RunError("Choose a run.")
        return find_model(run_id, self.root)

    def _changeable(self, run_id: Any) -> Run:
        """
        Raises:
            RunError: the run was removed, or is not the visitor's to change.
        """
        if not self.may_change:
            raise RunError("Only the owner of this page can change models.")
        run = self._run(run_id)
        if run.status.state in ("queued", "running"):
            raise RunError(f"Run {run.id} is being trained, which replaces its model: stop it first.")
        return run

    def _threshold(self, run: Run) -> str:
        try:
            detector = self.models.get(run.model_dir).detector
            return threshold_line(detector.threshold, detector.require_calibration())
        except AltUBError as error:  # a backbone that is not on this machine, for example
            return f'<p class="hub-note">{escape(str(error))}</p>'


def build_versions(tab: gr.Tab, chosen: gr.State, models: ModelCache, root: Path | None, *, may_change: bool) -> None:
    """Lays the panel out below the run that `chosen` holds the id of; arguments as of `VersionsHandlers`."""
    on = VersionsHandlers(models, root, may_change=may_change)
    with gr.Column(visible=False, elem_id="versions", elem_classes="hub-card") as card:
        gr.HTML(f'<h3>Threshold and versions</h3><p class="hub-note">{ABOUT}</p>')
        threshold = gr.HTML(elem_id="versions-threshold")
        table = gr.HTML(elem_id="versions-table")
        with gr.Row(elem_id="versions-actions"):
            version = Choices([], label="Version", filterable=False, min_width=120, scale=0, elem_id="version")
            restore = gr.Button("Restore", size="md", min_width=110, scale=0, elem_id="version-restore")
            remove = gr.Button(
                "Delete version", variant="stop", size="md", min_width=140, scale=0, elem_id="version-delete"
            )
            reset = gr.Button("Reset threshold", size="md", min_width=150, scale=0, elem_id="threshold-reset")
    shown = [card, threshold, table, version, restore, remove, reset]
    gr.on([chosen.change, tab.select], on.look, chosen, shown, **QUIET)
    restore.click(on.restore, [chosen, version], shown, **QUIET)
    remove.click(on.remove, [chosen, version], shown, **QUIET)
    reset.click(on.reset, chosen, shown, **QUIET)


def threshold_line(threshold: Threshold, calibration: Calibration) -> str:
    """The threshold in use and what it promises, as HTML."""
    value = calibration.anomaly_score(threshold.value)
    warning = f'<p class="warning">{escape(threshold.warning)}</p>' if threshold.warning else ""
    return f"<p>Threshold <b>{value:.3g}</b>. {escape(threshold.origin.promise)}</p>{warning}"


def versions_table(found: list[ModelVersion], current: int | None) -> str:
    """The versions, newest first, as HTML."""
    if not found:
        return '<p class="hub-note">One version, as trained: nothing was changed since.</p>'
    rows = "".join(_row(version, version.number == current) for version in reversed(found))
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Versions"><table><thead><tr>'
        '<th scope="col">Version</th><th scope="col">Made</th><th scope="col">By</th><th scope="col">Change</th>'
        f'<th scope="col">Note</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _row(version: ModelVersion, in_use: bool) -> str:
    made = time.strftime("%d %b %Y %H:%M", time.localtime(version.created))
    mark = ' <span class="mark">in use</span>' if in_use else ""
    cells = (escape(made), escape(version.author), escape(KINDS.get(version.kind, version.kind)), escape(version.note))
    return f'<tr><th scope="row">{version.number}{mark}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ModelError("Choose a version.") from None
