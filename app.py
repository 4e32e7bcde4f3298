"""Starts the AltUB page: `python app.py`, then open the address it prints."""

from __future__ import annotations

import sys

from altub.errors import MissingExtraError

if __name__ == "__main__":
    try:
        from altub.ui.app import run
    except MissingExtraError as error:
        sys.exit(f"Error: {error}")
    sys.exit(run())
