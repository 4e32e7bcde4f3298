"""What the Inspect tab does: inspects images into batches, and names their thresholds.

Plain functions of the session, apart from the page's layout; `altub.ui.inspect.tab` wires them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from altub.errors import ConfigError, DataError, RunError
from altub.inference.batch import Inspected, Source, Unreadable, inspect_images
from altub.inference.threshold import ROUNDING, Threshold
from altub.ui.dropped import dedupe_names
from altub.ui.html.verdicts import percent
from altub.ui.inspect.batch import PageBatch, photo_writer
from altub.ui.inspect.log import BatchLog
from altub.ui.inspect.sessions import MAX_BATCH
from altub.ui.offers import find_model
from altub.ui.services import Services

if TYPE_CHECKING:
    from altub.inference.detector import AnomalyDetector

__all__ = [
    "Choice",
    "Look",
    "add_to_batch",
    "choice_at",
    "choices_of",
    "default_position",
    "same_position",
    "threshold_at",
]

_PENDING = "{} was not inspected again because the batch was stopped: inspect all again."


@dataclass(frozen=True)
class Look:
    """How heatmaps are drawn."""

    opacity: float = 0.6
    colour_map: str = "inferno"
    contour: bool = True


@dataclass(frozen=True)
class Choice:
    """A position of the threshold's slider.

    Attributes:
        text: what it is, for people.
        rate: the false-alarm rate; None: the model's own threshold, which was not chosen by one.
    """

    text: str
    threshold: Threshold
    rate: float | None


def choices_of(batch: PageBatch) -> list[Choice]:
    """The slider's positions, from few to many defects: the rates that the held-out images can tell apart.

    A threshold of the model's own that is none of these has its place between them.
    """
    calibration, own = batch.calibration, batch.own_threshold
    choices = [
        Choice(f"False-alarm rate: {percent(rate)}", calibration.threshold(rate), rate) for rate in calibration.rates()
    ]
    if own is not None and all((own.value, own.pixel_value) != _values(choice) for choice in choices):
        choices.append(Choice("Model's own threshold", own, None))
    return sorted(choices, key=_values, reverse=True)


def _values(choice: Choice) -> tuple[float, float]:
    return choice.threshold.value, choice.threshold.pixel_value


def choice_at(batch: PageBatch, position: float) -> Choice:
    """What stands at a position of the slider.

    Raises:
        ConfigError: there is no such position.
    """
    choices = choices_of(batch)
    if position not in range(len(choices)):
        raise ConfigError("The false-alarm slider has no such position: move it and try again.")
    return choices[int(position)]


def default_position(batch: PageBatch) -> int:
    """The position of the model's own threshold."""
    own = batch.own_threshold or batch.calibration.threshold()
    wanted = own.value, own.pixel_value
    return next(place for place, choice in enumerate(choices_of(batch)) if _values(choice) == wanted)


def same_position(batch: PageBatch, rate: float | None) -> int:
    """The position of the highest rate that is not above this one (else of the lowest), as for another model before;
    None: the default."""
    if rate is None:
        return default_position(batch)
    rates = {place: choice.rate for place, choice in enumerate(choices_of(batch)) if choice.rate is not None}
    below = [place for place, one in rates.items() if one <= rate * (1 + ROUNDING)]
    return max(below, default=min(rates))


def threshold_at(batch: PageBatch, position: float) -> Threshold:
    """The threshold at a position of the slider.

    Raises:
        ConfigError: there is no such position.
    """
    return choice_at(batch, position).threshold


def add_to_batch(
    services: Services,
    session: str,
    run_id: str | None,
    sources: Sequence[Source],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[PageBatch, list[Inspected | Unreadable]]:
    """Inspects images and adds them to the session's batch; returns the batch and what was new.

    A batch is one model's view. With another run, with newer weights of the same one, or without sources, its earlier
    images are inspected again too. `SessionStore.stop` ends it early: what was done by then is kept, and earlier images
    that were not reached are pending in the batch. A name that is already in the batch gets a number.

    Raises:
        RunError: no run was chosen, it is gone, or has no model yet.
        DataError: there is no image to inspect, or there are more than the page holds.
        ModelError, WeightsError, DiskFullError: the model or the disk cannot be used.
    """
    if not run_id:
        raise RunError("No model is selected: select one from the list, or train one first.")
    run, sessions = find_model(run_id), services.sessions
    with sessions.alone(session):
        # Not cleared here: the button is shown before the work begins, and an early click counts.
        stop = sessions.stop_signal(session)
        model = services.models.get(run.model_dir)
        batch = sessions.get(session)
        same_model = batch is not None and (batch.run_id, batch.weights_sha256) == (run.id, model.weights_sha256)
        grows = same_model and bool(sources) and batch.folder.is_dir()
        kept = [] if batch is None or grows else batch.sources
        if not kept and not sources:
            raise DataError("There are no images to inspect: drop one or choose an example.")
        total = len(sources) + (len(batch.items) if batch is not None else 0)
        if total > MAX_BATCH:
            raise DataError(
                f"{total:,} images are more than the {MAX_BATCH} that the page holds: clear the batch, or use "
                "python -m altub predict in a terminal."
            )
        sources = dedupe_names(sources, (source.name for source in batch.sources) if batch is not None else ())
        if not grows:
            batch = _empty_batch(run.id, model.detector, model.weights_sha256, sessions.new_folder())
        log = BatchLog(services.recorder, model, run.model_dir, photo_writer(batch.folder))
        try:
            items = inspect_images(
                model.detector,
                [*kept, *sources],
                batch.folder,
                first_number=len(batch.items) + 1,
                on_photo=log.photo,
                progress=progress,
                should_stop=stop.is_set,
            )
        except BaseException:  # also when the visitor leaves: no session refers to the new folder
            if not grows:
                shutil.rmtree(batch.folder, ignore_errors=True)
            raise
        finally:
            stop.clear()
        pending = [
            Unreadable(number, source, _PENDING.format(source.name), is_pending=True)
            for number, source in enumerate(kept[len(items) :], start=len(items) + 1)
        ]
        items_now = (*batch.items, *items, *pending)
        batch = replace(batch, items=items_now, own_threshold=model.detector.own_threshold)
        sessions.put(session, batch)
    log.write(batch, [item for item in items if isinstance(item, Inspected)])
    return batch, items[len(kept) :] if sources else items


def _empty_batch(run_id: str, detector: AnomalyDetector, weights_sha256: str, folder: Path) -> PageBatch:
    backbone, info = detector.backbone, detector.info
    category = info.category if "category" in info.model_fields_set else run_id
    epoch = f"epoch {info.epoch}" if info.epoch else ""
    return PageBatch(
        run_id=run_id,
        weights_sha256=weights_sha256,
        title=" · ".join(filter(None, (category, backbone.name, epoch))),
        calibration=detector.calibration,
        own_threshold=detector.own_threshold,
        score_share=detector.config.score_share,
        scale_titles=tuple(
            f"Stage {stage}, stride {stride}" for stage, stride in zip(backbone.stages, backbone.strides, strict=True)
        ),
        folder=folder,
        pixel_range=detector.config.pixel_range,
        regions=detector.config.regions,
    )
