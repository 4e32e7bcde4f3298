"""Layouts of data sets on disk: MVTec AD, BTAD, VisA, and a folder of one's own."""

from __future__ import annotations
