"""Problems whose message is a sentence for the user.

Every other exception is a bug and keeps its traceback. The command line prints these on one line and exits with 2,
the page shows them as a message, a run stores them in its status.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = [
    "INSTALL_UI",
    "AltUBError",
    "ConfigError",
    "DataError",
    "DiskFullError",
    "ImageError",
    "LabelError",
    "MissingExtraError",
    "ModelError",
    "RunError",
    "WeightsError",
    "about",
    "validation_problem",
]


#: What to do where a part of the web page is missing.
INSTALL_UI = 'Install it with: pip install "altub[ui]"'


class AltUBError(Exception):
    """Base class: the message says what went wrong and what to do about it.

    field: name of the argument that is wrong, where a form may mark it; else empty.
    """

    field = ""

    def at(self, field: str) -> Self:
        """This error, about one argument.

        Example:
            >>> ConfigError("Give it a name.").at("name").field
            'name'
        """
        self.field = field
        return self

    def __str__(self) -> str:
        # The name of a file need not be text; a message is printed, stored as JSON and sent to a page.
        return super().__str__().encode(errors="replace").decode()


class ConfigError(AltUBError):
    """A setting is outside what is possible."""


class MissingExtraError(AltUBError, ImportError):
    """A package is not installed that only an extra of AltUB brings."""


class DataError(AltUBError):
    """A data set is missing, empty or in an unknown layout."""


class ImageError(DataError):
    """A file is not an image, or an image that is refused (too many pixels)."""


class WeightsError(AltUBError):
    """Pretrained backbone weights are not available, or do not fit the backbone."""


class ModelError(AltUBError):
    """A saved model is incomplete, damaged or from a newer format."""


class RunError(AltUBError):
    """A run directory is missing, in use by another process or not what was asked for."""


class LabelError(AltUBError):
    """A label store is damaged or in use, or a label is not what it may be."""


class DiskFullError(AltUBError):
    """The disk is full where a file had to be written; what was there before is unchanged."""


def validation_problem(error: ValidationError, *, show_input: bool = False) -> str:
    """The first thing that pydantic found wrong: where it is and what it should be, without a full stop.

    Example:
        >>> from altub.training.config import TrainingConfig
        >>> try:
        ...     TrainingConfig(category="a", epochs=0)
        ... except ValueError as error:
        ...     print(validation_problem(error, show_input=True))
        epochs: input should be greater than or equal to 1 (given: 0)

    Args:
        show_input: also the value that was given; not for files from elsewhere, where it may be anything.
    """
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"{where} is missing"
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    problem = f"{where}: {message}" if where else message
    given = first["input"]
    is_value = where and not isinstance(given, dict) and not hasattr(given, "model_dump")  # not a model as a whole
    return f"{problem} (given: {given!r})" if show_input and is_value else problem


@contextmanager
def about(field: str) -> Iterator[None]:
    """Errors raised within belong to this argument, unless they name one themselves.

    Example:
        >>> try:
        ...     with about("folder"):
        ...         raise DataError("There is no such folder.")
        ... except DataError as error:
        ...     print(error.field)
        folder
    """
    try:
        yield
    except AltUBError as error:
        error.field = error.field or field
        raise
