"""The Train tab."""

from __future__ import annotations
