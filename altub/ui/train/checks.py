"""What is wrong with the form, shown beside the field, and what the training would take: before it is started.

A problem belongs to one field. The field gets a coloured frame and the sentence in place of its help; what has no field
(the images, and settings for programs alone) is shown above the button. The same is checked when a training starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr
from pydantic import ValidationError

from altub.data import load_category
from altub.data.sample import outline_sample
from altub.deploy.server import limits
from altub.errors import AltUBError, ConfigError
from altub.training.preflight import Outlook, Problem, examine
from altub.ui.errors import notice
from altub.ui.train.data_source import SAMPLE, find_category
from altub.ui.train.form_values import config_from, form_settings

__all__ = ["FormChecks", "by_label", "check_line", "find_problems"]

WRONG = "wrong-field"
GIGABYTE = 1 << 30


def find_problems(data: str, category: str, preset: str, *values: Any) -> tuple[list[Problem], Outlook | None]:
    """What is wrong with a training of these images with these fields, or what it takes."""
    try:
        config = config_from(data, category, preset, *values)
    except ConfigError as error:
        name = _setting_of(error)
        return [Problem(name, by_label(str(error), name))], None
    problems = [Problem(name, text) for name, text in limits.exceeded(config).items()]
    if problems:  # an image size beyond the limit is not even sketched
        return problems, None
    # The sample may still be being drawn: neither this nor the start of a training waits for it.
    images = outline_sample(category) if data == SAMPLE else load_category(data, category)
    found = examine(config, images)
    return list(found.problems), found.outlook


def _setting_of(error: ConfigError) -> str:
    """The dotted name of the setting that an error is about, or "": a part of its value may be what is wrong."""
    cause = error.__cause__
    place = ".".join(map(str, cause.errors()[0]["loc"])) if isinstance(cause, ValidationError) else str(error)
    names = (entry.name for entry in form_settings() if re.match(rf"{re.escape(entry.name)}(?![\w-])", place))
    return max(names, key=len, default="")


def by_label(text: str, name: str = "") -> str:
    """A sentence of `make_config` with the labels of the form in the place of the settings' names.

    Args:
        name: dotted name of the setting that the sentence begins with.

    Example:
        >>> by_label("image_size: input should be greater than 31", "image_size")
        'Image size: input should be greater than 31'
    """
    titles = {entry.name: entry.title for entry in form_settings()}
    if name in titles:
        text = re.sub(rf"^{re.escape(name)}\b", titles[name], text)
    # Names of one plain word, such as epochs, are English already.
    spoken = {key: title for full, title in titles.items() for key in (full, full.rpartition(".")[2])}
    pattern = "|".join(sorted((re.escape(key) for key in spoken if "_" in key or "." in key), key=len, reverse=True))
    return re.sub(rf"\b(?:{pattern})\b", lambda found: spoken[found[0]], text)


class FormChecks:
    """Checks one page's form.

    Args:
        infos: dotted name of a setting -> help below its field, if any.
        is_local: may folders of this machine be named?
        expect: told whenever somebody looks at the form.
    """

    def __init__(
        self, infos: Mapping[str, str | None], *, is_local: bool, expect: Callable[[], None] = lambda: None
    ) -> None:
        self.infos, self.is_local, self.expect = infos, is_local, expect

    def look(
        self, marked: list[str], source: str, category: str | None, folder: str | None, preset: str, *values: Any
    ) -> list[Any]:
        """The line above the button, the names of the marked fields, and the fields; those that stay are skipped.

        Args:
            marked: names of the fields that are marked now.
        """
        self.expect()
        if not category:  # the panel of the images says what to do
            problems, outlook = [], None
        else:
            try:
                choice = find_category(source, category, folder or "", self.is_local)
                problems, outlook = find_problems(choice.data, choice.category, preset, *values)
            except AltUBError as error:
                problems, outlook = [Problem("category", str(error))], None
        wrong = {problem.setting: problem.text for problem in problems if problem.setting in self.infos}
        updates = [self._update(entry.name, wrong.get(entry.name), entry.name in marked) for entry in form_settings()]
        return [check_line(problems, wrong, outlook), list(wrong), *updates]

    def _update(self, name: str, text: str | None, is_marked: bool) -> Any:
        if text is not None:
            return gr.update(info=notice(text), elem_classes=[WRONG])
        # Not None: the page takes that for "as it is", and a corrected field would keep its sentence.
        return gr.update(info=self.infos[name] or "", elem_classes=[]) if is_marked else gr.skip()


def check_line(problems: list[Problem], beside: Mapping[str, str], outlook: Outlook | None) -> str:
    """What stands above the button. beside: problems that their fields show themselves."""
    if problems:
        said = [f'<p class="error">{notice(problem.text)}</p>' for problem in problems if problem.setting not in beside]
        if beside:
            fields = "the marked field" if len(beside) == 1 else f"the {len(beside)} marked fields"
            said.append(f'<p class="error">Correct {fields} first.</p>')
        return "".join(said)
    if outlook is None:
        return ""
    return (
        '<p class="muted small" title="On this machine: a rough estimate from the network and the number of images.">'
        f"About {_duration(outlook.seconds)}, {outlook.memory / GIGABYTE:.1f} GB of memory.</p>"
    )


def _duration(seconds: float) -> str:
    """Two leading digits at most: it is an estimate.

    Example:
        >>> _duration(40), _duration(130), _duration(5000), _duration(200_000)
        ('1 minute', '2 minutes', '1.4 hours', '2.3 days')
    """
    minutes = max(round(seconds / 60), 1)
    if minutes < 60:
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    if minutes < 48 * 60:
        return f"{minutes / 60:.1f} hours"
    return f"{minutes / 60 / 24:.1f} days"
