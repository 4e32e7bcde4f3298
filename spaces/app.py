"""Starts the AltUB page in this Space."""

from __future__ import annotations

import sys

from altub.space.host import main

if __name__ == "__main__":
    sys.exit(main())
