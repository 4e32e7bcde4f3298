"""The Inspect tab."""

from __future__ import annotations
