"""Handlers of the Label tab: values of components in, values of components out.

Anybody can call a handler by its number, whatever the page shows, so each one validates its arguments. The order of the
returned values is that of the outputs in `altub.ui.label.tab`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import gradio as gr

from altub.data import is_image_file
from altub.errors import AltUBError, ConfigError, LabelError, about
from altub.labels import write_training_set
from altub.ui.dropped import dropped_sources
from altub.ui.errors import notice, show_errors, without_folders
from altub.ui.label import sources, views
from altub.ui.label.choice import ALL_SOURCES, Choice, load_model
from altub.ui.label.desk import EXPIRED, LabelDesk
from altub.ui.label.export import write_archive
from altub.ui.offers import list_offers
from altub.ui.services import Services
from altub.ui.to_label import Offered, add_images

__all__ = ["LabelHandlers"]

#: Changes the canvas' value, so that it looks for images again.
_REVISIONS = itertools.count(1)


class LabelHandlers:
    """The handlers over one page's label store. is_local: only its owner reaches the page."""

    def __init__(self, services: Services, desk: LabelDesk, *, is_local: bool) -> None:
        self.services, self.desk, self.is_local = services, desk, is_local

    # Who, and what is shown.

    def enter(self, event: gr.EventData, request: gr.Request, run_id: Any, *fields: Any) -> tuple:
        """A person opens the tab: a session for the login's name or the one that they gave, the models, the sources."""
        name = getattr(event, "name", "")
        login = request.username or ""
        offers = self._offers(run_id)
        choice = self._choice(offers[1], *fields)
        problem, token = "", ""
        try:
            if login or (isinstance(name, str) and name.strip()):
                token = self.desk.enter(login or name)
            picked = [self._sources(choice.source), self._types(choice)]
        except AltUBError as error:
            problem, picked = without_folders(error), [gr.skip(), gr.skip()]
        value = {
            "token": token,
            "who": self.desk.who(token) or "",
            "login": bool(login),
            "view": choice.to_json(),
            "problem": problem,
            "revision": next(_REVISIONS),
        }
        return (
            value,
            value,
            offers[0],
            gr.Dropdown(choices=sources.category_choices()),
            *picked,
            *self._scoring(choice.run_id if token else ""),
        )

    @show_errors("Not available")
    def choose(self, value: dict, *fields: Any) -> tuple:
        """Another model, filter, order, source or type."""
        choice = self._choice(*fields)
        orders = views.QUEUE_ORDER_CHOICES if choice.is_queue else views.LIST_ORDER_CHOICES
        order = choice.order if choice.order in [name for _, name in orders] else orders[0][1]
        choice = Choice(choice.run_id, choice.show, order, choice.source, choice.defect_type)
        shown = self._shown(value, choice)
        return (
            shown,
            shown,
            gr.Dropdown(choices=list(orders), value=order),
            self._types(choice),
            *self._scoring(choice.run_id),
        )

    def look(self, run_id: Any) -> tuple:
        """How the scoring goes, once per tick; at its end something new for those who show what scores say."""
        self.services.scorer.go_on()
        shown, timer = self._progress()
        return shown, timer, gr.skip() if timer.active else next(_REVISIONS)

    def list_models(self, run_id: Any) -> Any:
        """The models, when the tab is opened again."""
        return self._offers(run_id)[0]

    # Images.

    @show_errors("Images not added", duration=None, fields={"source": "label-new-source"})
    def add_files(
        self,
        files: Sequence[str] | None,
        names: Any,
        source: Any,
        value: dict,
        *fields: Any,
        progress: gr.Progress = gr.Progress(),
    ) -> tuple:
        """Adds dropped files or a dropped folder; Gradio has checked that they are uploads."""
        offered = [(one.path, one.name) for one in dropped_sources(files or [], names)]
        images = [(path, name) for path, name in offered if is_image_file(name) or is_image_file(path)]
        return self._add(images, source, value, fields, progress)

    @show_errors("Folder not added", duration=None, fields={"folder": "label-folder", "source": "label-new-source"})
    def add_folder(
        self, folder: Any, source: Any, value: dict, *fields: Any, progress: gr.Progress = gr.Progress()
    ) -> tuple:
        """Adds the images of a folder of this machine."""
        with about("folder"):
            images = sources.folder_images(folder if isinstance(folder, str) else "", may_name_folders=self.is_local)
        return self._add(images, source, value, fields, progress)

    @show_errors("Images not added", duration=None, fields={"category": "label-category", "source": "label-new-source"})
    def add_category(
        self, category: Any, source: Any, value: dict, *fields: Any, progress: gr.Progress = gr.Progress()
    ) -> tuple:
        """Adds the test images of a category."""
        with about("category"):
            name, images = sources.test_images(category if isinstance(category, str) else "")
        return self._add(images, source or name, value, fields, progress)

    def _add(self, images: list[Offered], source: Any, value: dict, fields: tuple, progress: gr.Progress) -> tuple:
        if self.desk.who((value or {}).get("token")) is None:
            raise LabelError("Give your name first, so that labels can be kept with it." if not value else EXPIRED)
        if not isinstance(source, str) or len(source) > 200 or source.strip() == ALL_SOURCES:
            raise ConfigError("The source is a name of at most 200 characters, such as line 3.").at("source")

        def tell(done: int, of: int) -> None:
            progress((done, of), desc=f"Adding {done} of {of}", unit="images")

        added = add_images(self.services.labels, images, " ".join(source.split()), tell)
        (gr.Warning if added.refused else gr.Info)(notice(added.summary))
        choice = self._choice(*fields)
        shown = self._shown(value, choice)
        return shown, shown, self._sources(choice.source), *self._scoring(choice.run_id)

    @show_errors("Export failed", fields={"format": "label-format"})
    def export(self, kind: Any, value: Any, *fields: Any, progress: gr.Progress = gr.Progress()) -> str:
        """All labelled images of the source with their labels, as an archive."""
        if self.desk.who(value.get("token") if isinstance(value, dict) else None) is None:
            raise LabelError(EXPIRED)

        def tell(done: int, of: int) -> None:
            progress((done, of), desc=f"Packing {done} of {of}", unit="images")

        with about("format"):
            path, images, notes = write_archive(self.services.labels, str(kind), self._choice(*fields).source, tell)
        gr.Info(notice(" ".join([f"{images} labelled images.", *notes])))
        return str(path)

    @show_errors("Set not made")
    def make_set(
        self, with_good: Any, learned: Any, value: Any, *fields: Any, progress: gr.Progress = gr.Progress()
    ) -> str:
        """Writes what is labelled as a set to train on; its name."""
        if self.desk.who(value.get("token") if isinstance(value, dict) else None) is None:
            raise LabelError(EXPIRED)
        choice = self._choice(*fields)
        model = load_model(self.services.models, choice.run_id) if with_good is True else None

        def tell(done: int, of: int) -> None:
            progress((done, of), desc=f"Copying {done} of {of}", unit="images")

        good = sources.training_images(model.run) if model else ()
        share = learned / 100 if isinstance(learned, int | float) else 0.0
        path, notes = write_training_set(
            self.services.labels, source=choice.source, good=good, learned=share, progress=tell
        )
        gr.Info(notice(" ".join([f"The set “{path.name}” is ready to train on.", *notes])))
        return path.name

    # Parts of the above.

    def _choice(self, *fields: Any) -> Choice:
        return Choice.of(dict(zip(("run", "show", "order", "source", "type"), fields, strict=True)))

    def _shown(self, value: Any, choice: Choice) -> dict:
        known = value if isinstance(value, dict) else {}
        token = known.get("token", "")
        return {
            "token": token if self.desk.who(token) else "",
            "who": self.desk.who(token) or "",
            "login": bool(known.get("login")),
            "view": choice.to_json(),
            "problem": "",
            "revision": next(_REVISIONS),
        }

    def _offers(self, run_id: Any) -> tuple[Any, str]:
        """The list of models, and the id of the one that is chosen: the former, else the newest finished."""
        offers = list_offers()
        ids = [offer.id for offer in offers]
        value = run_id if run_id in ids or run_id == "" else None
        if value is None:
            value = next((offer.id for offer in offers if offer.state == "finished"), ids[0] if ids else "")
        choices = [("No model", ""), *((offer.label, offer.id) for offer in offers)]
        return gr.Dropdown(choices=choices, value=value), value

    def _sources(self, source: str | None) -> Any:
        found = self.services.labels.images.sources()
        choices = [("All sources", ALL_SOURCES), *((name or "No source", name) for name in found)]
        value = ALL_SOURCES if source is None or source not in found else source
        return gr.Dropdown(choices=choices, value=value)

    def _types(self, choice: Choice) -> Any:
        types = list(self.services.labels.labels.defect_types())
        value = choice.defect_type if choice.defect_type in types else ""
        choices = [("All types", ""), *((name, name) for name in types)]
        return gr.Dropdown(choices=choices, value=value, visible=choice.show == "defect")

    def _scoring(self, run_id: str) -> tuple:
        """Asks the model about what it has not seen, and shows how that goes."""
        scorer = self.services.scorer
        if run_id:
            scorer.ask(run_id)
            scorer.task.wait(0.05)  # a few images, or none: nothing to show
        return self._progress()

    def _progress(self) -> tuple:
        scorer = self.services.scorer
        return views.progress_html(scorer.task, waits=scorer.is_busy), gr.Timer(active=scorer.is_busy)
