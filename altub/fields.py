"""Settings described where they are declared, so that the command line, the page and the documentation need no lists
of their own.

A field of a pydantic model is declared with `setting(...)`; `settings_of(Model)` lists the fields of a model and of the
models nested in it, by dotted name.

Example:
    >>> from pydantic import BaseModel
    >>> class Oven(BaseModel):
    ...     heat: int = setting(180, "Temperature", "Inside the oven.", group="run", unit="°C", ge=30, le=300)
    >>> settings_of(Oven)[0].range_text
    '30 to 300'
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Field
from pydantic.fields import FieldInfo

from altub.errors import ConfigError

__all__ = ["AUTO", "AUTOMATIC", "GROUPS", "Choices", "Setting", "setting", "settings_of"]

Kind = Literal["whole", "number", "switch", "choice", "choices", "wholes", "json", "text"]
Choices = Mapping[Any, str]  # value -> title

# Sections, in the order in which they are shown.
GROUPS = {
    "data": "Data",
    "backbone": "Backbone",
    "flow": "Flow",
    "optimizer": "Optimizer",
    "base": "AltUB schedule",
    "score": "Map and score",
    "run": "Run",
    "other": "Other",
}

AUTO = "auto"  # how None is written where a setting may be left to the program
AUTOMATIC = BeforeValidator(lambda value: None if value == AUTO else value)  # in Annotated[float | None, AUTOMATIC]


@dataclass(frozen=True)
class _About:
    """What a field's type, bounds, title and description leave open; kept as its `json_schema_extra`."""

    group: str
    unit: str
    basic: bool
    choices: Choices | Callable[[], Choices] | None
    is_open: bool
    step: float | None
    flows: tuple[str, ...] | Callable[[], tuple[str, ...]]
    automatic: str

    def __call__(self, schema: dict[str, Any]) -> None:
        schema["group"] = self.group
        if self.unit:
            schema["unit"] = self.unit


def setting(
    default: Any,
    title: str,
    help: str,
    *,
    group: str,
    unit: str = "",
    basic: bool = False,
    choices: Choices | Callable[[], Choices] | None = None,
    is_open: bool = False,
    step: float | None = None,
    flows: tuple[str, ...] | Callable[[], tuple[str, ...]] = (),
    automatic: str = "",
    **bounds: Any,
) -> Any:
    """A pydantic field that says how people see it.

    Args:
        default: `...` where the setting must be given.
        title: a label of one to three words.
        help: one sentence.
        group: a key of `GROUPS`.
        unit: what a number counts, such as "px" or "epochs".
        basic: shown first; the others are advanced.
        choices: value -> title, or a function that gives them, where the type does not list them or their names need
            words.
        is_open: the choices are suggestions; other values are possible.
        step: by how much a number is usually changed.
        flows: kinds of flow that read the setting, or a function that gives them; empty means all.
        automatic: what None stands for, where it is allowed.
        bounds: ge, gt, le, lt, multiple_of as `pydantic.Field` takes them.
    """
    about = _About(group, unit, basic, choices, is_open, step, flows, automatic)
    return Field(default, title=title, description=help, json_schema_extra=about, **bounds)


@dataclass(frozen=True)
class Setting:
    """One setting as people see it.

    name: dotted, such as "base.interval". default: `...` where it must be given. bounds: ge, gt, le, lt, multiple_of.
    optional: may be None, which is written "auto".
    """

    name: str
    title: str
    help: str
    kind: Kind
    default: Any
    group: str = "other"
    unit: str = ""
    is_basic: bool = False
    is_open: bool = False
    optional: bool = False
    automatic: str = ""
    step: float | None = None
    bounds: Mapping[str, float] = field(default_factory=dict)
    _choices: Choices | Callable[[], Choices] | None = None
    _flows: tuple[str, ...] | Callable[[], tuple[str, ...]] = ()

    @property
    def choices(self) -> Choices:
        """value -> title; empty where anything goes. May load what offers them."""
        return self._choices() if callable(self._choices) else self._choices or {}

    @property
    def flows(self) -> tuple[str, ...]:
        """Kinds of flow that read the setting; empty means all."""
        return self._flows() if callable(self._flows) else self._flows

    @property
    def level(self) -> Literal["basic", "advanced"]:
        return "basic" if self.is_basic else "advanced"

    @property
    def range_text(self) -> str:
        """What the setting can be, in words: bounds, or the values to choose from."""
        if self.kind in ("choice", "choices") and not self.is_open:
            return ", ".join(map(str, self.choices))
        if self.kind == "switch":
            return "true, false"
        low, high = self.bounds.get("ge"), self.bounds.get("le")
        above, below = self.bounds.get("gt"), self.bounds.get("lt")
        parts = []
        if low is not None and high is not None:
            parts.append(f"{low} to {high}")
        else:
            parts += [f"at least {low}"] if low is not None else []
            parts += [f"above {above}"] if above is not None else []
            parts += [f"up to {high}"] if high is not None else []
            parts += [f"below {below}"] if below is not None else []
        if (factor := self.bounds.get("multiple_of")) is not None:
            parts.append(f"a multiple of {factor}")
        return ", ".join(parts)

    @property
    def default_text(self) -> str:
        """The default as it would be typed; empty where there is none."""
        return "" if self.default is ... else self.show(self.default)

    @property
    def help_text(self) -> str:
        """Help with unit, choices and what "auto" means, for a command line."""
        parts = [self.help]
        if self.kind in ("choice", "choices") and not self.is_open:
            parts.append(f"One of: {self.range_text}." if self.kind == "choice" else f"Any of: {self.range_text}.")
        if self.optional and self.automatic:
            parts.append(f"{AUTO}: {self.automatic}.")
        return " ".join(parts)

    def show(self, value: Any) -> str:
        """A value as it would be typed."""
        if value is None:
            return AUTO
        if isinstance(value, bool):
            return str(value).lower()
        if self.kind == "json":
            return _plain_json(value) if value else "none"
        if isinstance(value, tuple | list):
            return ",".join(map(str, value)) or "none"
        return f"{value:g}" if isinstance(value, float) else str(value)

    def parse(self, text: str) -> Any:
        """A value from what was typed; what it cannot be read as stays text, for the model to refuse.

        Raises:
            ConfigError: a list of whole numbers was expected, or JSON ends early or has a mistake.
        """
        text = text.strip()
        word = text.lower()
        if self.optional and word in (AUTO, "none", "null", ""):
            return None
        if self.kind == "switch" and word in ("true", "yes", "on", "false", "no", "off"):
            return word in ("true", "yes", "on")
        if self.kind == "choices":
            return () if word == "none" else tuple(filter(None, (part.strip() for part in text.split(","))))
        if self.kind == "wholes":
            try:
                return tuple(int(part) for part in text.split(","))
            except ValueError:
                raise ConfigError(
                    f"{self.name}: whole numbers with commas are expected, such as 1,2,3 (given: {text!r})."
                ) from None
        try:
            if self.kind == "json":
                return json.loads(text) if word != "none" else self.default
            if self.kind == "whole":
                return int(text)
            if self.kind == "number":
                return float(text)
        except json.JSONDecodeError as error:
            if text[:1] in ("[", "{"):
                place = f"character {error.pos + 1}" if error.pos < len(text) else "its end"
                raise ConfigError(f"{self.name}: this is no JSON, see {place} ({error.msg}).") from None
            return text
        except ValueError:
            return text
        return text


def settings_of(model: type[BaseModel], prefix: str = "") -> list[Setting]:
    """Every field of a model, and of the models nested in it, in the order in which they are declared."""
    found: list[Setting] = []
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            found += settings_of(info.annotation, f"{prefix}{name}.")
        else:
            found.append(_setting(prefix + name, info))
    return found


def _setting(name: str, info: FieldInfo) -> Setting:
    plain, optional = _without_none(info.annotation)
    kind, values = _kind(plain)
    title = info.title or name.rpartition(".")[2].replace("_", " ").capitalize()
    default = ... if info.is_required() else info.get_default(call_default_factory=True)
    bounds = {
        key: getattr(constraint, key)
        for constraint in info.metadata
        for key in ("ge", "gt", "le", "lt", "multiple_of")
        if getattr(constraint, key, None) is not None
    }
    about = info.json_schema_extra
    if not isinstance(about, _About):  # a field without a description is still a setting
        choices = {value: _value_title(value) for value in values}
        return Setting(name, title, info.description or "", kind, default, optional=optional, bounds=bounds,
                       _choices=choices or None)  # fmt: skip
    choices = about.choices
    if not callable(choices):
        titles = dict(choices or {})
        choices = {value: titles.get(value, _value_title(value)) for value in (values or titles)}
    if choices and kind == "text":
        kind = "choice"
    return Setting(
        name,
        title,
        info.description or "",
        kind,
        default,
        group=about.group,
        unit=about.unit,
        is_basic=about.basic,
        is_open=about.is_open,
        optional=optional,
        automatic=about.automatic,
        step=about.step,
        bounds=bounds,
        _choices=choices or None,
        _flows=about.flows,
    )


def _plain_json(value: Any) -> str:
    if isinstance(value, tuple | list):
        return json.dumps([one.model_dump(mode="json") if isinstance(one, BaseModel) else one for one in value])
    return json.dumps(value)


def _value_title(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """`X | None` -> (X, True); everything else as it is."""
    if get_origin(annotation) in (Union, UnionType):
        rest = [part for part in get_args(annotation) if part is not NoneType]
        return rest[0], len(rest) < len(get_args(annotation))
    return annotation, False


def _kind(annotation: Any) -> tuple[Kind, tuple[Any, ...]]:
    """How a value of this type is entered, and the values that the type lists."""
    if get_origin(annotation) is Literal:
        return "choice", get_args(annotation)
    if get_origin(annotation) is tuple:
        inner = get_args(annotation)[0]
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return "json", ()
        return ("choices", get_args(inner)) if get_origin(inner) is Literal else ("wholes", ())
    if get_origin(annotation) is dict:
        return "json", ()
    if annotation is bool:
        return "switch", (True, False)
    if annotation is int:
        return "whole", ()
    return ("number", ()) if annotation is float else ("text", ())
