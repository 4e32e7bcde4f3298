"""A running Space: its limits, its visitors and its notices."""

from __future__ import annotations
