"""Starts the AltUB page: `python app.py`, then open the address it prints."""

from __future__ import annotations

import sys

from altub.ui.app import run

if __name__ == "__main__":
    sys.exit(run())
