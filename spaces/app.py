"""Starts the AltUB page in this Space."""

from __future__ import annotations

import sys

from altub.ui.space import main

if __name__ == "__main__":
    sys.exit(main())
