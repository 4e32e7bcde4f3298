"""The Models tab."""

from __future__ import annotations
