"""Layouts of data sets on disk: MVTec AD, BTAD, VisA, and a plain folder."""

from __future__ import annotations
