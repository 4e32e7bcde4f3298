"""What a running Space allows, tells and remembers."""

from __future__ import annotations
