"""The form as a whole: filled from a run, kept by the browser from one visit to the next.

The browser keeps what differs from the preset, so that a newer version's presets count. What it brings back is checked
like any other input: a value that a field no longer takes is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from altub.data.sample import SAMPLE_CATEGORIES
from altub.errors import AltUBError, RunError
from altub.fields import Setting
from altub.labels.training_set import training_sets_root
from altub.settings import data_root
from altub.training.config import PRESETS, TrainingConfig, make_config
from altub.ui.errors import notice, show_errors
from altub.ui.train import form_handlers
from altub.ui.train.data_handlers import DataHandlers
from altub.ui.train.data_source import (
    FOLDER,
    LABELLED,
    MVTEC,
    OWN,
    SAMPLE,
    SOURCES,
    UPLOAD,
    category_choices,
    find_category,
    mvtec_roots,
)
from altub.ui.train.form_values import config_from, form_settings, values_of
from altub.ui.train.form_views import schedule_strip
from altub.ui.train.uploads import uploads_root
from altub.ui.watch import RunWatch

__all__ = ["FormMemory", "place_of"]

FIRST_PRESET = next(iter(PRESETS))
LONGEST_REGIONS = 20_000  # characters


class FormMemory:
    """Fills one page's form. Every answer is a value for each of its components: source, folder, category, thumbnails,
    download, own images, timer, preset, its description, variant, schedule, and the fields."""

    def __init__(self, data: DataHandlers, watch: RunWatch) -> None:
        self.data, self.watch = data, watch

    @show_errors("Run not cloned")
    def clone(self, run_id: Any) -> list[Any]:
        """The images and settings of a run."""
        view = self.watch.view(run_id) if isinstance(run_id, str) else None
        if view is None:
            raise RunError("This run was removed: choose another one.")
        config = view.config
        source, folder, category = place_of(config, self.data.is_local)
        if category is None:
            gr.Warning(notice(f"The images of {config.category} are not there any more: choose others."))
        else:
            gr.Info("The form has the settings of the run: change what you like and start.")
        return self._fill(source, folder, category, FIRST_PRESET, values_of(config))

    def remember(
        self, ready: Any, source: Any, category: Any, folder: Any, preset: Any, *values: Any
    ) -> dict[str, Any] | Any:
        """What the browser keeps; as it is while the page has not been filled from it yet."""
        if ready is not True or preset not in PRESETS:
            return gr.skip()
        usual = values_of(make_config(preset, category="any"))
        now = dict(zip((entry.name for entry in form_settings()), values, strict=True))
        changed = {name: value for name, value in now.items() if value != usual[name]}
        return {"source": source, "category": category, "folder": folder, "preset": preset, "changed": changed}

    def restore(self, kept: Any) -> list[Any]:
        """The form of the last visit, and True: from now on it is remembered."""
        if not isinstance(kept, dict) or kept.get("preset") not in list(PRESETS):
            return [True, *[gr.skip()] * (11 + len(form_settings()))]
        source, folder, category = (kept.get(name) for name in ("source", "folder", "category"))
        if source not in [value for _, value in SOURCES]:
            source, category = SAMPLE, None
        folder = folder if isinstance(folder, str) and self.data.is_local else ""
        try:
            find_category(source, category, folder, self.data.is_local)
        except AltUBError:  # removed since
            category = None
        preset, changed = kept["preset"], kept.get("changed")
        values = values_of(make_config(preset, category="any"))
        for entry in form_settings():
            if isinstance(changed, dict) and entry.name in changed and _fits(entry, changed[entry.name]):
                values[entry.name] = changed[entry.name]
        return [True, *self._fill(source, folder, category, preset, values)]

    def _fill(self, source: str, folder: str, category: str | None, preset: str, values: dict[str, Any]) -> list[Any]:
        try:
            category_choices(source, folder, self.data.is_local)
        except AltUBError:  # the folder is gone
            folder = ""
        choices, view, download, own, timer = self.data.choose_source(source, folder, category)
        try:
            strip = schedule_strip(config_from("sample", "any", preset, *values.values()))
        except AltUBError:  # wrong fields are marked by the form's check
            strip = gr.skip()
        return [
            source,
            folder,
            choices,
            view,
            download,
            own,
            timer,
            preset,
            form_handlers.describe_preset(preset),
            form_handlers.variant_of(values, preset),
            strip,
            *values.values(),
        ]


def place_of(config: TrainingConfig, is_local: bool) -> tuple[str, str, str | None]:
    """Source, folder and category of the form for the images of a run; the category is None where they are gone."""
    root, name = Path(config.data), config.category
    if config.data == SAMPLE or root == data_root() / SAMPLE:
        return SAMPLE, "", name if name in SAMPLE_CATEGORIES else None
    if root in {place for given in mvtec_roots() for place in (given, given.resolve())}:
        place = (MVTEC, "", name)
    elif root.parent in (uploads_root(), uploads_root().resolve()):
        place = (OWN, "", UPLOAD + root.name)
    elif root.parent in (training_sets_root(), training_sets_root().resolve()):
        place = (OWN, "", LABELLED + root.name)
    else:
        place = (OWN, str(root) if is_local else "", FOLDER + name)
    try:
        find_category(place[0], place[2], place[1], is_local)
    except AltUBError:
        return place[0], place[1], None
    return place


def _fits(entry: Setting, value: Any) -> bool:
    """Can the field show the value?"""
    if entry.kind in ("whole", "number"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if entry.kind == "choices":
        return isinstance(value, list) and all(choice in entry.choices for choice in value)
    if entry.kind in ("choice", "switch"):
        return isinstance(value, str | bool) and (value in entry.choices or (entry.is_open and bool(value)))
    return isinstance(value, str) and len(value) < (LONGEST_REGIONS if entry.kind == "json" else 200)
