"""The Compare tab."""

from __future__ import annotations
