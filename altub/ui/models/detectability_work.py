"""The measurement of detectability that a page starts: one at a time, its result kept in the model's folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from altub.data import load_category
from altub.errors import AltUBError, ConfigError, RunError
from altub.evaluation.detectability import Plan, measure_detectability, unseen_good
from altub.evaluation.detectability.report import FOLDER, write_report
from altub.inference.model_files import read_config
from altub.runs.run import Run
from altub.ui.background import BackgroundTask, Report

__all__ = ["CONTRASTS", "Measurement", "read_scale"]

#: Mean change of a defect's pixels, and what it is called.
CONTRASTS = {0.1: "Faint (0.1)", 0.25: "Clear (0.25)", 0.5: "Strong (0.5)"}
_LARGEST_SCALE = 1000.0  # mm per pixel


def read_scale(value: Any) -> float | None:
    """What was typed as the scale, mm per pixel; None of nothing.

    Raises:
        ConfigError: it is no scale.
    """
    if value is None or not str(value).strip():
        return None
    try:
        scale = float(str(value).strip().replace(",", "."))
    except ValueError:
        scale = math.nan
    if not 0 < scale <= _LARGEST_SCALE:
        raise ConfigError("The scale must be above 0, in millimetres per pixel; leave it empty for sizes in pixels.")
    return scale


@dataclass
class _Asked:
    """What is being measured: a run, at a contrast."""

    run_id: str
    contrast: float
    scale: float | None


class Measurement:
    """At most one measurement of a page; every visitor sees how far it is.

    Attributes:
        task: the thread.
        run_id: of the run that is measured, or was last; empty before.
    """

    def __init__(self) -> None:
        self.task = BackgroundTask("The measurement")
        self.run_id = ""

    def __deepcopy__(self, _memo: dict) -> Measurement:
        return self  # one for all visitors

    def start(self, run: Run, contrast: Any, scale: float | None, *, device: str = "auto") -> bool:
        """Measures this run's model in the background; False if one is being measured already.

        Raises:
            ConfigError: there is no such contrast.
        """
        if not isinstance(contrast, float) or contrast not in CONTRASTS:
            raise ConfigError(f"Choose a contrast: {', '.join(CONTRASTS.values())}.")
        asked = _Asked(run.id, float(contrast), scale)

        def work(report: Report, should_stop: Callable[[], bool]) -> str:
            self.run_id = asked.run_id
            return _measure(run, asked, report, should_stop, device)

        return self.task.start(work)


def _measure(run: Run, asked: _Asked, report: Report, should_stop: Callable[[], bool], device: str) -> str:
    from altub.inference.detector import AnomalyDetector

    report(None, "reading the images")
    config = run.config
    try:
        category = load_category(config.data, config.category)
    except AltUBError as error:
        raise RunError(
            f"The images of {run.id} are not on this machine any more, and defects are drawn on good ones: {error}"
        ) from error
    good = unseen_good(run.model_dir, category)
    report(None, "loading the model")
    detector = AnomalyDetector.load(run.model_dir, device, download=False)
    weights = read_config(run.model_dir).weights_sha256

    def progress(done: int, total: int) -> None:
        if should_stop():
            raise RunError("Stopped; nothing was kept.")
        report(done / total, f"image {done} of {total}")

    result = measure_detectability(
        detector,
        good,
        plan=Plan(contrasts=(asked.contrast,)),
        real=category.defective,
        mm_per_pixel=asked.scale,
        category=category.name,
        weights_sha256=weights,
        progress=progress,
    )
    report(1.0, "drawing the examples")
    if read_config(run.model_dir).weights_sha256 != weights:
        raise RunError("The model was trained further meanwhile: measure it again when the training has ended.")
    write_report(run.model_dir / FOLDER, result, detector, good)
    return f"Measured {len(result.trials)} synthetic defects."
