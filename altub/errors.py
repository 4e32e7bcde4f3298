"""Problems whose message is a sentence for the person at the screen.

Every other exception is a bug and keeps its traceback. The command line prints these on one line and exits with 2,
the page shows them as a message, a run stores them in its status.
"""

from __future__ import annotations

__all__ = [
    "AltUBError",
    "ConfigError",
    "DataError",
    "DiskFullError",
    "ImageError",
    "ModelError",
    "RunError",
    "WeightsError",
]


class AltUBError(Exception):
    """Base class: the message says what went wrong and what to do about it."""


class ConfigError(AltUBError):
    """A setting is outside what is possible."""


class DataError(AltUBError):
    """A data set is missing, empty or laid out in a way that is not understood."""


class ImageError(DataError):
    """One file is no image, or an image that is refused (too many pixels)."""


class WeightsError(AltUBError):
    """Pretrained backbone weights are not to be had, or do not fit."""


class ModelError(AltUBError):
    """A saved model is incomplete, damaged or from a newer format."""


class RunError(AltUBError):
    """A run directory is missing, in use by another process or not what was asked for."""


class DiskFullError(AltUBError):
    """There is no room left where a file had to be written; what was there before is untouched."""
