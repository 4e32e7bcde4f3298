"""Handlers of the Inspect tab: values of components in, values of components out.

Anybody can call a handler by its number, whatever the page shows, so each one validates its arguments. The order of the
returned values is that of the outputs in `altub.ui.inspect.tab`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from altub.errors import DataError, RunError
from altub.inference.batch import Inspected, Source, Unreadable
from altub.inference.threshold import Threshold
from altub.ui.errors import show_errors
from altub.ui.inspect import views
from altub.ui.inspect.batch import PageBatch
from altub.ui.inspect.dropped import dropped_sources
from altub.ui.inspect.examples import examples_of
from altub.ui.inspect.histogram import score_histogram_html
from altub.ui.inspect.inspection import (
    Look,
    add_to_batch,
    default_position,
    neighbour,
    overlay_file,
    position_of,
    rate_at,
    threshold_at,
)
from altub.ui.offers import find_model, list_offers
from altub.ui.services import Services

__all__ = ["InspectHandlers", "rate_label"]


class InspectHandlers:
    """The handlers over one page's loaded models and its visitors' batches."""

    def __init__(self, services: Services) -> None:
        self.services, self.sessions = services, services.sessions

    # Runs and examples.

    def refresh(self, run_id: str | None, seen: list | None, session: str) -> tuple:
        """The list of runs, where it has changed since the page last received it."""
        offers = list_offers()
        choices = [(offer.label, offer.id) for offer in offers]
        batch = self.sessions.get(session)
        newest = {offer.id: offer.weights_sha256 for offer in offers}
        stale = views.stale(
            batch is not None and newest.get(batch.run_id, batch.weights_sha256) != batch.weights_sha256
        )
        if choices == seen:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip(), stale
        ids = [offer.id for offer in offers]
        value = run_id if run_id in ids else next((offer.id for offer in offers if offer.state == "finished"), None)
        value = value or (ids[0] if ids else None)
        empty = batch is None or not batch.inspected
        return (
            gr.Dropdown(choices=choices, value=value, interactive=bool(ids)),
            choices,
            gr.Column(visible=not ids and empty),
            gr.HTML(visible=bool(ids) and empty),
            gr.Column(visible=bool(ids) or not empty),
            stale,
        )

    @show_errors("Model not available")
    def choose_run(self, run_id: str | None) -> tuple:
        """Thumbnails of the test images that fit the run, and a line about its model."""
        found = examples_of(find_model(run_id)) if run_id else []
        pictures = [(example.thumbnail, example.caption) for example in found]
        note = views.model_note(next((offer for offer in list_offers() if offer.id == run_id), None))
        return gr.Gallery(value=pictures, selected_index=None), gr.Column(visible=bool(pictures)), note

    # The model runs.

    @show_errors("Inspection failed")
    def inspect_files(
        self,
        files: list[str] | None,
        names: Any,
        run_id: str | None,
        session: str,
        *controls: Any,
        progress: gr.Progress = gr.Progress(),
    ) -> tuple:
        """Adds dropped files; Gradio has checked that they are uploads. names: what the visitor calls them."""
        if not files:
            raise DataError("No file was received: drop one or more images.")
        return self._inspect(session, run_id, dropped_sources(files, names), controls, progress)

    @show_errors("Inspection failed")
    def inspect_example(
        self,
        event: gr.SelectData,
        run_id: str | None,
        session: str,
        *controls: Any,
        progress: gr.Progress = gr.Progress(),
    ) -> tuple:
        """Adds the example that was clicked."""
        examples = examples_of(find_model(run_id or ""))
        if not isinstance(event.index, int) or not 0 <= event.index < len(examples):
            raise RunError("This example no longer exists: choose another one.")
        return self._inspect(session, run_id, [examples[event.index].source], controls, progress)

    @show_errors("Inspection failed")
    def inspect_again(
        self, run_id: str | None, session: str, *controls: Any, progress: gr.Progress = gr.Progress()
    ) -> tuple:
        """Inspects the whole batch again with the chosen run as it is now."""
        return self._inspect(session, run_id, [], controls, progress)

    def _inspect(
        self, session: str, run_id: str | None, sources: list[Source], controls: Sequence[Any], progress: gr.Progress
    ) -> tuple:
        if not self.sessions.knows(session):  # no batch was announced, or the server was restarted
            session = self.sessions.new()
        before, (position, *look) = self.sessions.get(session), controls
        rate = None  # the new batch's default
        if before is not None and position != default_position(before):
            rate = rate_at(before, position)
        asked = len(sources) or len(before.items if before is not None else ())

        def tell(done: int, of: int) -> None:
            progress((done, of), desc=f"Inspecting {done} of {of}", unit="images")

        batch, new = add_to_batch(self.services, session, run_id, sources, tell)
        first = next((item for item in new if isinstance(item, Inspected)), None) or next(iter(batch.inspected), None)
        notice = views.problems([item for item in new if isinstance(item, Unreadable)])
        pending = sum(isinstance(item, Unreadable) and item.is_pending for item in batch.items)
        notice += views.stopped(len(new), asked, pending)
        position = default_position(batch) if rate is None else position_of(batch, rate)
        return _everything(session, batch, first, notice, position, Look(*look))

    # The model does not run.

    @show_errors("Update failed")
    def relabel(self, session: str, shown: int, position: float, *look: Any) -> tuple:
        """Everything that depends on the threshold."""
        batch = self.sessions.get(session)
        if batch is None:
            return (gr.skip(),) * 9
        threshold = threshold_at(batch, position)
        return (
            *_picture(batch, _item(batch, shown), threshold, Look(*look)),
            views.batch_summary(batch, threshold),
            views.table_rows(batch, threshold),
            gr.Slider(label=rate_label(batch, position)),
            views.threshold_note(threshold, batch.calibration),
        )

    @show_errors("Update failed")
    def show(self, session: str, shown: int, position: float, *look: Any) -> tuple:
        """The shown image, drawn with other settings."""
        batch = self.sessions.require(session)
        return _picture(batch, _item(batch, shown), threshold_at(batch, position), Look(*look))

    @show_errors("Update failed")
    def select_row(self, event: gr.SelectData, session: str, shown: int, position: float, *look: Any) -> tuple:
        """Shows the image of a row, by the number in the row: the page may have sorted the table."""
        batch = self.sessions.require(session)
        try:
            number = int(event.row_value[0])
        except (TypeError, ValueError, IndexError, AttributeError):
            raise RunError("There is no such row in the table: choose another one.") from None
        if number == shown:
            return (gr.skip(),) * 6
        return number, *_picture(batch, batch.item(number), threshold_at(batch, position), Look(*look))

    @show_errors("Update failed")
    def step(self, by: int, session: str, shown: int, position: float, *look: Any) -> tuple:
        """Shows the image after (1) or before (-1) the shown one."""
        batch = self.sessions.require(session)
        number = neighbour(batch, shown, by)
        if number in (0, shown):
            return (gr.skip(),) * 6
        return number, *_picture(batch, batch.item(number), threshold_at(batch, position), Look(*look))

    def begin(self, session: str) -> tuple:
        """The session of a batch that begins, which the page needs in order to stop it, and the Stop button."""
        session = session if self.sessions.knows(session) else self.sessions.new()
        self.sessions.stop_signal(session).clear()  # set by a click after the end of the last batch
        return session, gr.Button(visible=True)

    def stop(self, session: str) -> None:
        """Stops the running batch after the images that are being inspected."""
        self.sessions.stop(session)

    @show_errors("Clearing failed")
    def clear(self, session: str, run_id: str | None) -> tuple:
        """Discards the batch."""
        self.sessions.discard(session)
        return (
            "",
            0,
            "",
            gr.HTML(visible=bool(run_id)),
            gr.Column(visible=False),
            *[gr.skip()] * 5,
            gr.Column(visible=False),
            "",
            [],
            gr.skip(),
            "",
            "",
        )

    @show_errors("Export failed")
    def write_csv(self, session: str, position: float) -> str:
        """predictions.csv at the chosen threshold."""
        batch = self.sessions.require(session)
        return str(batch.write_csv(threshold_at(batch, position)))

    @show_errors("Export failed")
    def write_zip(
        self,
        session: str,
        position: float,
        opacity: float,
        colour_map: str,
        contour: bool,
        progress: gr.Progress = gr.Progress(),
    ) -> str:
        """Overlays with the current settings, maps, masks and the table."""
        batch = self.sessions.require(session)
        path = batch.write_zip(
            threshold_at(batch, position),
            opacity=opacity,
            colour_map=colour_map,
            contour=contour,
            progress=lambda done, of: progress((done, of), desc=f"Packing {done} of {of}", unit="images"),
        )
        return str(path)


def rate_label(batch: PageBatch, position: float) -> str:
    """The slider's label with the rate at its position."""
    return f"False-alarm rate: {views.percent(rate_at(batch, position))}"


def _slider(batch: PageBatch, position: int) -> gr.Slider:
    """The slider over the rates of this batch."""
    last = len(batch.calibration.rates()) - 1
    return gr.Slider(maximum=max(last, 1), value=position, label=rate_label(batch, position), interactive=last > 0)


# Parts of the above.


def _everything(
    session: str, batch: PageBatch, item: Inspected | None, notice: str, position: int, look: Look
) -> tuple:
    threshold = threshold_at(batch, position)
    picture = _picture(batch, item, threshold, look)
    return (
        session,
        item.number if item else 0,
        notice,
        gr.HTML(visible=item is None),
        gr.Column(visible=item is not None),
        *picture,
        gr.Column(visible=True),
        views.batch_summary(batch, threshold),
        views.table_rows(batch, threshold),
        _slider(batch, position),
        views.threshold_note(threshold, batch.calibration),
        "",
    )


def _picture(batch: PageBatch, item: Inspected | None, threshold: Threshold, look: Look) -> tuple:
    """Verdict, slider, legend, histogram and scales of one image."""
    if item is None:
        return (gr.skip(),) * 5
    unit = batch.calibration.score_unit
    return (
        views.verdict_card(batch, item, threshold),
        (str(batch.screen_file(item)), str(overlay_file(batch, item, threshold, look))),
        views.legend(batch.calibration, threshold.pixel_value, look.colour_map),
        score_histogram_html(
            unit.of(batch.calibration.scores),
            unit.of(item.score),
            unit.of(threshold.value),
            views.VERDICTS[batch.verdict(item, threshold).kind][0],
        ),
        views.scale_maps(batch, item, batch.maps(item)[1], look.colour_map),
    )


def _item(batch: PageBatch, shown: int) -> Inspected | None:
    return batch.item(shown) if shown else None
