"""The package's version; models and runs record it."""

__version__ = "0.1.0"
