"""Pictures and charts as HTML, shared by the tabs."""

from __future__ import annotations
