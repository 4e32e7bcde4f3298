"""Handlers of the Inspect tab: values of components in, values of components out.

Anybody can call a handler by its number, whatever the page shows, so each one validates its arguments. The order of the
returned values is that of the outputs in `altub.ui.inspect.tab`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import gradio as gr

from altub.errors import ConfigError, DataError, RunError
from altub.inference.batch import Inspected, Source, Unreadable
from altub.inference.threshold import Threshold
from altub.settings import uploads_are_shared
from altub.ui.dropped import dropped_sources
from altub.ui.errors import notice, show_errors
from altub.ui.html.verdicts import VERDICTS
from altub.ui.inspect import views
from altub.ui.inspect.batch import PageBatch
from altub.ui.inspect.blend import blend_value
from altub.ui.inspect.examples import examples_of
from altub.ui.inspect.histogram import score_histogram_html
from altub.ui.inspect.inspection import (
    Look,
    add_to_batch,
    choice_at,
    choices_of,
    default_position,
    same_position,
    threshold_at,
)
from altub.ui.inspect.review import review_value
from altub.ui.inspect.sessions import Kept
from altub.ui.marks import stamp
from altub.ui.offers import find_model, list_offers
from altub.ui.services import Services
from altub.ui.to_label import add_images

__all__ = ["PICTURE", "InspectHandlers"]

PICTURE = 6  # values of `_picture`
EVERYTHING = 17  # values of `_everything`
LONGEST_SOURCE = 200  # characters of the name of a source of labels
NO_LABELS = "Labels are off on this Space: its visitors would see each other's images."


class InspectHandlers:
    """The handlers over one page's loaded models and its visitors' batches."""

    def __init__(self, services: Services) -> None:
        self.services, self.sessions = services, services.sessions

    # Runs and examples.

    def refresh(self, run_id: str | None, seen: Any, session: str) -> tuple:
        """The list of runs, where it has changed since it was `seen`."""
        offers = list_offers()
        choices = [(offer.label, offer.id) for offer in offers]
        batch = self.sessions.get(session)
        newest = {offer.id: offer.weights_sha256 for offer in offers}
        learned_on = batch is not None and newest.get(batch.run_id, batch.weights_sha256) != batch.weights_sha256
        stale = views.stale(batch, run_id, learned_on)
        if stamp(choices) == seen:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip(), stale
        ids = [offer.id for offer in offers]
        value = run_id if run_id in ids else next((offer.id for offer in offers if offer.state == "finished"), None)
        value = value or (ids[0] if ids else None)
        empty = batch is None or not batch.inspected
        return (
            gr.Dropdown(choices=choices, value=value, interactive=bool(ids)),
            stamp(choices),
            gr.Column(visible=not ids and empty),
            gr.HTML(visible=bool(ids) and empty),
            gr.Column(visible=bool(ids) or not empty),
            stale,
        )

    @show_errors("Model not available")
    def choose_run(self, run_id: str | None, session: str) -> tuple:
        """Thumbnails of the test images that fit the run, a line about its model, and one on results of another one."""
        found = examples_of(find_model(run_id)) if run_id else []
        pictures = [(example.thumbnail, example.caption) for example in found]
        note = views.model_note(next((offer for offer in list_offers() if offer.id == run_id), None))
        stale = views.stale(self.sessions.get(session), run_id)
        return gr.Gallery(value=pictures, selected_index=None), gr.Column(visible=bool(pictures)), note, stale

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

    @show_errors("Inspection failed")
    def follow_run(
        self, run_id: str | None, session: str, *controls: Any, progress: gr.Progress = gr.Progress()
    ) -> tuple:
        """Inspects the batch again where another model was chosen than the one that it is by."""
        if not self._is_by_another(run_id, session):
            return (gr.skip(),) * EVERYTHING
        return self._inspect(session, run_id, [], controls, progress)

    def begin_to_follow(self, run_id: str | None, session: str) -> tuple:
        """`begin`, where `follow_run` has something to do."""
        return self.begin(session) if self._is_by_another(run_id, session) else (gr.skip(), gr.skip())

    def _is_by_another(self, run_id: str | None, session: str) -> bool:
        batch = self.sessions.get(session)
        return batch is not None and bool(run_id) and batch.run_id != run_id

    def _inspect(
        self, session: str, run_id: str | None, sources: list[Source], controls: Sequence[Any], progress: gr.Progress
    ) -> tuple:
        if not self.sessions.knows(session):  # no batch was announced, or the server was restarted
            session = self.sessions.new()
        before, (position, *look) = self.sessions.get(session), controls
        rate = None  # the default
        if before is not None and position != default_position(before):
            rate = choice_at(before, position).rate
        asked = len(sources) or len(before.items if before is not None else ())

        def tell(done: int, of: int) -> None:
            progress((done, of), desc=f"Inspecting {done} of {of}", unit="images")

        batch, new = add_to_batch(self.services, session, run_id, sources, tell)
        first = next((item for item in new if isinstance(item, Inspected)), None) or next(iter(batch.inspected), None)
        notice = views.problems([item for item in new if isinstance(item, Unreadable)])
        pending = sum(isinstance(item, Unreadable) and item.is_pending for item in batch.items)
        notice += views.stopped(len(new), asked, pending)
        return _everything(session, batch, first, notice, same_position(batch, rate), Look(*look))

    # The model does not run.

    @show_errors("Update failed")
    def relabel(self, session: str, shown: int, position: float, *look: Any) -> tuple:
        """Everything that depends on the threshold."""
        batch = self.sessions.get(session)
        if batch is None:
            return (gr.skip(),) * (PICTURE + 4)
        choice, item = choice_at(batch, position), _item(batch, shown)
        return (
            *_picture(batch, item, choice.threshold, Look(*look)),
            views.batch_summary(batch),
            review_value(batch, choice.threshold, item.number if item else 0),
            gr.Slider(label=choice.text),
            views.threshold_note(choice.threshold, batch.calibration),
        )

    @show_errors("Update failed")
    def show(self, session: str, shown: int, position: float, *look: Any) -> tuple:
        """The shown image, drawn with other settings."""
        batch = self.sessions.require(session)
        return _picture(batch, _item(batch, shown), threshold_at(batch, position), Look(*look))

    @show_errors("Update failed")
    def pick(self, event: gr.EventData, session: str, position: float, *look: Any) -> tuple:
        """Shows the image with the number that was picked in the list."""
        batch = self.sessions.require(session)
        number = getattr(event, "number", None)
        if not isinstance(number, int) or isinstance(number, bool):
            raise RunError("There is no such image in the list: choose another one.")
        return number, *_picture(batch, batch.item(number), threshold_at(batch, position), Look(*look))

    # Inspections that are kept.

    def remember(self, session: str, remembered: Any) -> tuple:
        """What the browser remembers, this inspection first, and the list of those that are still there."""
        kept = self.sessions.kept([session, *(remembered if isinstance(remembered, list) else [])])
        return [one.session for one in kept], self._kept_list(kept, session)

    def _kept_list(self, kept: list[Kept], session: str) -> gr.Dropdown:
        choices = [(views.kept_title(one.batch, one.changed), one.session) for one in kept]
        value = session if session in [one.session for one in kept] else None
        return gr.Dropdown(choices=choices, value=value, visible=bool(kept))

    @show_errors("Inspection not available")
    def restore(self, remembered: Any, asked_run: Any, *look: Any) -> tuple:
        """After a reload: the browser's last inspection, by the model of the address where it names one."""
        kept = self.sessions.kept(remembered)
        last = next((one for one in kept if not asked_run or one.batch.run_id == asked_run), None)
        if last is None:
            return (gr.skip(),) * (EVERYTHING + 1) + (self._kept_list(kept, ""),)
        return (*self._opened(last, *look), self._kept_list(kept, last.session))

    @show_errors("Inspection not available")
    def open_kept(self, chosen: Any, *look: Any) -> tuple:
        """An earlier inspection, and its model."""
        kept = self.sessions.kept([chosen])
        if not kept:
            raise RunError("This inspection is no longer kept: choose another one, or drop the images again.")
        return self._opened(kept[0], *look)

    def _opened(self, kept: Kept, *look: Any) -> tuple:
        batch = self.sessions.require(kept.session)
        first = next(iter(batch.inspected), None)
        shown = _everything(kept.session, batch, first, "", default_position(batch), Look(*look))
        offers = list_offers()
        if batch.run_id not in [offer.id for offer in offers]:
            return (*shown, gr.skip())
        return (*shown, gr.Dropdown(choices=[(offer.label, offer.id) for offer in offers], value=batch.run_id))

    def begin_new(self, run_id: str | None) -> tuple:
        """An empty page; the inspection so far is kept."""
        return self._empty(run_id)

    # Beginning and end.

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
        return self._empty(run_id)

    def _empty(self, run_id: str | None) -> tuple:
        return (
            "",
            0,
            "",
            gr.HTML(visible=bool(run_id)),
            gr.Column(visible=False),
            gr.Row(visible=False),
            *[gr.skip()] * PICTURE,
            "",
            {"batch": "", "shown": 0, "rows": []},
            *[gr.skip()] * 2,
            "",
        )

    @show_errors("Images not sent", duration=None)
    def send_to_label(self, session: str, progress: gr.Progress = gr.Progress()) -> None:
        """Adds the inspected images to the label store; those that are there already stay as they are."""
        if not uploads_are_shared():
            raise ConfigError(NO_LABELS)
        batch = self.sessions.require(session)
        images = [(item.source.path, item.source.name) for item in batch.inspected]
        added = add_images(
            self.services.labels,
            images,
            f"Inspect: {batch.title}"[:LONGEST_SOURCE],
            lambda done, of: progress((done, of), desc=f"Adding {done} of {of}", unit="images"),
        )
        (gr.Warning if added.refused else gr.Info)(notice(added.summary))

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
        overlays: str,
        maps: str,
        masks: bool,
        *look: Any,
        progress: gr.Progress = gr.Progress(),
    ) -> str:
        """The table, and of overlays (with the current settings), maps and masks what was chosen."""
        batch = self.sessions.require(session)
        path = batch.write_zip(
            threshold_at(batch, position),
            overlays=overlays,
            maps=maps,
            masks=bool(masks),
            **asdict(Look(*look)),
            progress=lambda done, of: progress((done, of), desc=f"Packing {done} of {of}", unit="images"),
        )
        return str(path)

    @show_errors("Export failed")
    def write_report(self, session: str, position: float, *look: Any, progress: gr.Progress = gr.Progress()) -> str:
        """The batch as one HTML file."""
        batch = self.sessions.require(session)
        path = batch.write_report(
            threshold_at(batch, position),
            batch.title,
            **asdict(Look(*look)),
            progress=lambda done, of: progress((done, of), desc=f"Drawing {done} of {of}", unit="images"),
        )
        return str(path)


# Parts of the above.


def _everything(
    session: str, batch: PageBatch, item: Inspected | None, notice: str, position: int, look: Look
) -> tuple:
    choice, last = choice_at(batch, position), len(choices_of(batch)) - 1
    number = item.number if item else 0
    return (
        session,
        number,
        notice,
        gr.HTML(visible=item is None),
        gr.Column(visible=item is not None),
        gr.Row(visible=True),
        *_picture(batch, item, choice.threshold, look),
        views.batch_summary(batch),
        review_value(batch, choice.threshold, number),
        gr.Slider(maximum=max(last, 1), value=position, label=choice.text, interactive=last > 0),
        views.threshold_note(choice.threshold, batch.calibration),
        "",
    )


def _picture(batch: PageBatch, item: Inspected | None, threshold: Threshold, look: Look) -> tuple:
    """Verdict, slider, what it blends, legend, histogram and scales of one image.

    Both halves of the slider get the photo: the browser puts the heatmap over the right one.
    """
    if item is None:
        return "", *(gr.skip(),) * (PICTURE - 1)
    unit = batch.calibration.score_unit
    return (
        views.verdict_card(batch, item, threshold),
        (str(batch.screen_file(item)),) * 2,
        blend_value(batch, item, threshold, look),
        views.legend(batch.calibration, threshold.pixel_value, look.colour_map),
        score_histogram_html(
            unit.of(batch.calibration.scores),
            unit.of(item.score),
            unit.of(threshold.value),
            VERDICTS[batch.verdict(item, threshold).kind][0],
        ),
        views.scale_maps(batch, item, batch.maps(item)[1], look.colour_map),
    )


def _item(batch: PageBatch, shown: int) -> Inspected | None:
    return batch.item(shown) if shown else None
