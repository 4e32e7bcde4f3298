"""The page under load: many clients at once, whether each gets its own answer, and what that takes and leaves."""

from __future__ import annotations
